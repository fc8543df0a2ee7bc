/** Times as Kubernetes writes them. */
import * as DateTime from "effect/DateTime"

export const iso = (millis: number): string => DateTime.formatIso(DateTime.makeUnsafe(millis))

export const millisOf = (text: string): number => DateTime.toEpochMillis(DateTime.makeUnsafe(text))
