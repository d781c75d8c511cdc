import { randomInt } from "node:crypto";

export const BASE = "app.example.org";
export const APP = "a".repeat(40);
export const INSTANCES: readonly string[] = ["b", "c", "d"].map((digit) => digit.repeat(40));

export const pick = <T>(...choices: readonly T[]): T => choices[randomInt(choices.length)] as T;
export const nothing = (): void => {};
