/** The table of endpoints. */
import type { Arrival, Reply } from "./reply.ts"

export interface Route {
  /** The answer to a request with an accepted key. */
  readonly answer: (arrival: Arrival, key: string) => Reply
  /** The plan's faults happen here. Default: false. */
  readonly planned?: boolean
  /** Whether the key may come as `x-api-key`, too. Default: false. */
  readonly takesApiKey?: boolean
  /** Tells of the simulator itself: no key is asked for, and no fault happens. Default: false. */
  readonly own?: boolean
}

/** Endpoints by method and path, as in `GET /models`. A path may end in `{id}`, which stands for any name. */
export type Routes = Readonly<Record<string, Route>>

export const find = (routes: Routes, method: string, path: string): Route | undefined => {
  const name = `${method} ${path.replace(/\?.*$/s, "")}`
  const named = name.replace(/[^/]+$/, "{id}")
  return Object.hasOwn(routes, name) ? routes[name] : Object.hasOwn(routes, named) ? routes[named] : undefined
}
