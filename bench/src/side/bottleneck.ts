import Bottleneck from "bottleneck"
import { promises } from "../promises.ts"

const side = (options: Bottleneck.ConstructorOptions) =>
  promises(() => {
    const limiter = new Bottleneck(options)
    return (call) => limiter.schedule(call)
  })

export const rateLimiter = side({
  reservoir: 1_000_000_000,
  reservoirRefreshAmount: 1_000_000_000,
  reservoirRefreshInterval: 1_000
})
export const concurrencyLimit = side({ maxConcurrent: 16 })
