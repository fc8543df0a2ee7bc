import pLimit from "p-limit"
import { crowds, promises } from "../promises.ts"

export const concurrencyLimit = promises(() => pLimit(16))
export const crowdedConcurrencyLimit = crowds(() => pLimit(1))
