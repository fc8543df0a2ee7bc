/** The policies of services in the registry at hand, by the workflow that has the service. */
import * as Registry from "@ballast/resilience/Registry"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import type * as Policies from "./policies.ts"

/** Services whose handles are kept: those that were made last. */
const capacity = 1000

export interface Handles {
  /** What the policies of a service are called. */
  readonly nameOf: (workflow: string, service: string) => string
  /** Takes the place of what it registered before by this name: a file that changed has services of its own. */
  readonly register: (workflow: string, service: string) => Policies.Register
}

const ownerOf = (workflow: string): string => `workflow/${workflow}`
const nameOf = (workflow: string, service: string): string => `${ownerOf(workflow)}/${service}`

export const make: Effect.Effect<Handles, never, Scope.Scope> = Effect.gen(function*() {
  const registry = yield* Registry.Current
  const scope = yield* Effect.scope
  const kept = new Map<string, Scope.Closeable>()
  const drop = (name: string) => {
    const own = kept.get(name)
    kept.delete(name)
    return own === undefined ? Effect.void : Scope.close(own, Exit.void)
  }
  const register: Handles["register"] = (workflow, service) =>
    Effect.fnUntraced(function*(handles) {
      const name = nameOf(workflow, service)
      yield* drop(name)
      const own = yield* Scope.fork(scope)
      kept.set(name, own)
      const [oldest = ""] = kept.keys()
      if (kept.size > capacity) yield* drop(oldest)
      yield* Scope.provide(registry.register(ownerOf(workflow), name, handles), own)
    }, Effect.uninterruptible)
  return { nameOf, register }
})
