/** Pins what a shared circuit breaker adds to the error channel; checked by the compiler alone. */
import type { CircuitBreaker, CircuitBreakerStore } from "@ballast/resilience"
import { EffectCircuitBreaker, SharedCircuitBreaker } from "@ballast/resilience"
import type { Effect, Layer } from "effect"
import type { CircuitBreaker as Effects } from "effect/persistence"

type Equals<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true : false
const same = <A, B>(_equal: Equals<A, B>): void => {}

declare const program: Effect.Effect<"a", "e", "r">
declare const allowing: Effect.Success<ReturnType<typeof allow>>
declare const failing: Effect.Success<ReturnType<typeof fail>>

const allow = () => SharedCircuitBreaker.make({ probes: 2 })
const fail = () => SharedCircuitBreaker.make({ onStoreError: "fail" })
const allowed = allowing("key")(program)
const failed = failing("key")(program)
const untouched = SharedCircuitBreaker.noop("key")(program)
const layer = EffectCircuitBreaker.layer()

type StoreError = CircuitBreakerStore.CircuitBreakerStoreError

same<typeof allowed, Effect.Effect<"a", "e" | CircuitBreaker.CircuitOpen, "r">>(true)
same<typeof failed, Effect.Effect<"a", "e" | CircuitBreaker.CircuitOpen | StoreError, "r">>(true)
same<typeof untouched, Effect.Effect<"a", "e", "r">>(true)
same<typeof layer, Layer.Layer<Effects.CircuitBreaker, never, CircuitBreakerStore.CircuitBreakerStore>>(true)
