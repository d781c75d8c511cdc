import { Problem, useAnswer } from "@dstack/dashboard/web";
import type { ImageInfo } from "./wire.js";
import { call } from "./api.js";
import { hello, mayChange } from "./live.js";

/** The guest images of this host. */
export function Images() {
  const { answer, problem } = useAnswer(
    () => call<{ images: ImageInfo[] }>("ListImages"),
    [hello.value?.run],
  );
  const images = answer.value?.images;
  return (
    <>
      <h1>Guest images</h1>
      <Problem text={problem.value} />
      {images?.length === 0 && (
        <section class="empty">
          <p>There are no guest images on this host.</p>
          <p>
            <code>scripts/build-image</code> makes one; put its directory into teepod's{" "}
            <code>image_path</code>.
          </p>
        </section>
      )}
      {images !== undefined && images.length > 0 && (
        <table>
          <thead>
            <tr>
              <th scope="col">Name</th>
              <th scope="col">What it is</th>
              <th scope="col">Use</th>
            </tr>
          </thead>
          <tbody>
            {images.map((image) => (
              <tr key={image.name}>
                <th scope="row">{image.name}</th>
                <td>{image.description}</td>
                <td>
                  {mayChange.value && (
                    <a href={`#/deploy?image=${encodeURIComponent(image.name)}`}>Deploy with {image.name}</a>
                  )}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </>
  );
}
