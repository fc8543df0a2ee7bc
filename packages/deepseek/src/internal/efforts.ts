import { isString } from "effect/Predicate"
import type { Effort, Model } from "../Provider.ts"

/** The effort that an alias stands for; undefined where it is none, or no name. */
export const effortOf = (given: unknown, efforts: Model["efforts"]): Effort | undefined =>
  isString(given) && efforts !== undefined && Object.hasOwn(efforts, given) ? efforts[given] : undefined
