import { post } from "@dstack/dashboard/web";

/** Calls a method of the Teepod service. @throws {ApiError} */
export function call<T>(method: string, body: unknown = {}): Promise<T> {
  return post<T>(`/prpc/Teepod.${method}?json`, body);
}
