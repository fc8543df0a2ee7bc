/**
 * What a step calls: one interface for HTTP services, models, rules and code of the program.
 *
 * A call is made at least once: after a crash, and for each attempt, it is made again with the same `idempotencyKey`. A service that changes
 * something outside keeps the keys that it has seen.
 *
 * A file describes services under `services:`, by `type`:
 *
 * | type | what it does |
 * |---|---|
 * | `http` | sends the input to a URL, answers with the JSON that comes back |
 * | `model` | asks a chat model, answers with its text, or with JSON that fits a schema |
 * | `onnx` | asks a local model, answers with its outputs as nested lists |
 * | `rule` | answers with the `then` of the first rule whose `when` is true; null without one |
 * | `approval` | waits until a person decides (see `Runner.approve`) |
 * | `workflow` | runs the steps of another workflow, within the same run |
 * | `report` | fills a page of HTML, with charts |
 *
 * Their texts may hold expressions, which see `input` (and the same as `output`), `env` and `run`; those of `output` of `http` see the answer as `output`.
 *
 * @since 0.1.0
 */
import type { Parts, Service } from "./internal/services/contract.ts"
import * as Make from "./internal/services/make.ts"
import type { Settings } from "./internal/services/settings.ts"

export {
  type CallContext,
  type CostOf,
  CurrentCall,
  type Parts,
  type Service,
  ServiceError
} from "./internal/services/contract.ts"
export { mistakes, outputOf, reference, Settings, templates } from "./internal/services/settings.ts"

/**
 * A service from its settings in a file. One of the type `approval` or `workflow` can not be called: the runner does it in its place. `text` is the
 * one of the file that the settings name; `name` is in the messages and metrics of its policies, which all calls of this service share.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  settings: Settings,
  parts: Parts,
  { name = "service", text = "" }: { readonly name?: string; readonly text?: string | undefined } = {}
): Service => Make.make(settings, parts, { name, text })
