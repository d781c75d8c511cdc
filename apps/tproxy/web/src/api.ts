import { post } from "@dstack/dashboard/web";

/** Calls a method of the TproxyAdmin service. @throws {ApiError} */
export function call<T>(method: string, body: unknown = {}): Promise<T> {
  return post<T>(`/prpc/TproxyAdmin.${method}?json`, body);
}
