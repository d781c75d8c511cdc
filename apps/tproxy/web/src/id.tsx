/** An id of an app or instance: whole to whoever copies or hears it, its beginning where there is little room. */
export function Id({ id }: { id: string }) {
  return (
    <code class="id" title={id}>
      {id}
    </code>
  );
}
