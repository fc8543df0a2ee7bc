/**
 * @since 0.1.0
 */
export * as AdaptiveLimit from "./AdaptiveLimit.ts"

/**
 * @since 0.1.0
 */
export * as Backoff from "./Backoff.ts"

/**
 * @since 0.1.0
 */
export * as Cache from "./Cache.ts"

/**
 * @since 0.1.0
 */
export * as CallInfo from "./CallInfo.ts"

/**
 * @since 0.1.0
 */
export * as Chaos from "./Chaos.ts"

/**
 * @since 0.1.0
 */
export * as CircuitBreaker from "./CircuitBreaker.ts"

/**
 * @since 0.1.0
 */
export * as CircuitBreakerStore from "./CircuitBreakerStore.ts"

/**
 * @since 0.1.0
 */
export * as ConcurrencyLimit from "./ConcurrencyLimit.ts"

/**
 * @since 0.1.0
 */
export * as Deadline from "./Deadline.ts"

/**
 * @since 0.1.0
 */
export * as Degrade from "./Degrade.ts"

/**
 * @since 0.1.0
 */
export * as EffectCircuitBreaker from "./EffectCircuitBreaker.ts"

/**
 * @since 0.1.0
 */
export * as EffectRateLimiter from "./EffectRateLimiter.ts"

/**
 * @since 0.1.0
 */
export * as Fallback from "./Fallback.ts"

/**
 * @since 0.1.0
 */
export * as Hedge from "./Hedge.ts"

/**
 * @since 0.1.0
 */
export * as Idempotency from "./Idempotency.ts"

/**
 * @since 0.1.0
 */
export * as Keyed from "./Keyed.ts"

/**
 * @since 0.1.0
 */
export * as Layered from "./Layered.ts"

/**
 * @since 0.1.0
 */
export * as LoadShed from "./LoadShed.ts"

/**
 * @since 0.1.0
 */
export * as Outcome from "./Outcome.ts"

/**
 * @since 0.1.0
 */
export * as Policy from "./Policy.ts"

/**
 * @since 0.1.0
 */
export * as Priority from "./Priority.ts"

/**
 * @since 0.1.0
 */
export * as RateLimiter from "./RateLimiter.ts"

/**
 * @since 0.1.0
 */
export * as RateLimiterStore from "./RateLimiterStore.ts"

/**
 * @since 0.1.0
 */
export * as Registry from "./Registry.ts"

/**
 * @since 0.1.0
 */
export * as Retry from "./Retry.ts"

/**
 * @since 0.1.0
 */
export * as RetryAfter from "./RetryAfter.ts"

/**
 * @since 0.1.0
 */
export * as RetryBudget from "./RetryBudget.ts"

/**
 * @since 0.1.0
 */
export * as Share from "./Share.ts"

/**
 * @since 0.1.0
 */
export * as SharedCircuitBreaker from "./SharedCircuitBreaker.ts"

/**
 * @since 0.1.0
 */
export * as SharedRateLimiter from "./SharedRateLimiter.ts"

/**
 * @since 0.1.0
 */
export * as SingleFlight from "./SingleFlight.ts"

/**
 * @since 0.1.0
 */
export * as Throttle from "./Throttle.ts"
