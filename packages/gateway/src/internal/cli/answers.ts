/** How many answers were dropped from the caches, in words. */
import type { DroppedAnswers } from "../../RecordsApi.ts"

const counted = (count: number): string => `${count} ${count === 1 ? "answer" : "answers"}`

export const droppedOf = ({ exact, semantic, store }: typeof DroppedAnswers.Type): string =>
  `${counted(exact + semantic)} in memory${semantic === 0 ? "" : ` (${semantic} by meaning)`}${
    store === null ? "" : `, ${store} in Redis`
  }`
