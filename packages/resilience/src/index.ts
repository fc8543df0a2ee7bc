/**
 * @since 0.1.0
 */
export * as CircuitBreaker from "./CircuitBreaker.ts"

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
export * as Outcome from "./Outcome.ts"

/**
 * @since 0.1.0
 */
export * as Policy from "./Policy.ts"

/**
 * @since 0.1.0
 */
export * as RateLimiter from "./RateLimiter.ts"

/**
 * @since 0.1.0
 */
export * as Retry from "./Retry.ts"

/**
 * @since 0.1.0
 */
export * as RetryAfter from "./RetryAfter.ts"
