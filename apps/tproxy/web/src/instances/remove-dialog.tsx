import { TypedDialog } from "@dstack/dashboard/web";
import { call } from "../api.js";

/** Takes an instance out once the beginning of its id has been typed. */
export function RemoveInstance({ id, onClose }: { id: string; onClose: () => void }) {
  const remove = async (): Promise<void> => {
    await call("RemoveInstance", { id });
    onClose();
  };
  const short = id.slice(0, 12);
  return (
    <TypedDialog
      title={`Remove ${short}…?`}
      name={short}
      button="Remove it"
      action={remove}
      onClose={onClose}
    >
      <p>
        Its registration and its tunnel go, and its connections end at once. The CVM runs on, and registers
        again when it boots next. To let connections come to their end first, drain it.
      </p>
      <p>
        <code>{id}</code>
      </p>
    </TypedDialog>
  );
}
