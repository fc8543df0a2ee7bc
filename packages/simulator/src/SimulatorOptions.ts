/**
 * The simulator's settings.
 *
 * @since 0.1.0
 */
import type { ChatRequest } from "@ballast/chat/ChatRequest"
import type * as Duration from "effect/Duration"
import type { Planned } from "./Fault.ts"

/**
 * Settings of a simulator. Everything is optional.
 *
 * @category options
 * @since 0.1.0
 */
export interface SimulatorOptions {
  /** The same seed and request give the same answer. Default: `"ballast"`. */
  readonly seed?: string | number | undefined
  /**
   * The text of every answer, or a function that gives it for a request; `undefined` asks for a made-up one. It comes in place of tool
   * calls, too; `stop` and `max_tokens` hold. Default: made-up text.
   */
  readonly reply?: string | ((request: ChatRequest) => string | undefined) | undefined
  /** The API keys that are accepted. Default: every key that begins with `sk-`. */
  readonly keys?: ReadonlyArray<string> | undefined
  /** Time until the status and headers. Default: 20 ms. */
  readonly latency?: Duration.Input | undefined
  /** Time from the headers to the first token; where it is longer than 10 minutes, the connection is closed then. Default: 300 ms. */
  readonly timeToFirstToken?: Duration.Input | undefined
  /** Tokens per second after the first, above 0; `Infinity` for all at once. Default: 300. */
  readonly tokensPerSecond?: number | undefined
  /** By which share times vary up and down, 0 to 1, repeatably. Default: 0.3. */
  readonly jitter?: number | undefined
  /** Interval of keep-alive comments (or blank lines before a JSON body) while nothing else is sent. Default: 10 s. */
  readonly keepAlive?: Duration.Input | undefined
  /** How many chat requests each model answers at the same time. Default: 2,500 flash, 500 pro. */
  readonly concurrency?: {
    readonly "deepseek-flash"?: number | undefined
    readonly "deepseek-v4-pro"?: number | undefined
  } | undefined
  /** The account's money. Below about 10 USD the concurrency limit shrinks with it; at 0 every chat gets a 402. Default: 10 + 100 CNY. */
  readonly balance?: {
    readonly currency?: "CNY" | "USD" | undefined
    readonly granted?: number | undefined
    readonly toppedUp?: number | undefined
  } | undefined
  /** Whether usage is taken from the balance, by the price table. Default: false. */
  readonly billing?: boolean | undefined
  /**
   * Which requests with thinking must pass `reasoning_content` back: with tools, for every earlier assistant turn
   * (`"documented"`); only for the turn whose tool results end the conversation (`"observed"`, 2026-09); none (`"off"`).
   * Default: `"documented"`.
   */
  readonly replayCheck?: "documented" | "observed" | "off" | undefined
  /** How many units (128 tokens) of prompts the context cache keeps. 0 switches it off. Default: 65,536. */
  readonly cacheSize?: number | undefined
  /** Faults to come. The first that applies to a request happens. Default: none. */
  readonly plan?: ReadonlyArray<Planned> | undefined
}
