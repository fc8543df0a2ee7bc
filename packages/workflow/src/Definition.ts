/**
 * A workflow as a YAML file says it, and the search for its mistakes.
 *
 * ```yaml
 * workflow:
 *   name: invoice_processing
 *   steps:
 *     - service: image_enhancement
 *       timeout: 5s
 *     - service: ocr_extraction
 *       retry: 2
 *     - service: compliance_check
 *       condition: "${output.amount > 1000}"
 * ```
 *
 * Steps run one after the other; as soon as a step has `needs`, each step waits for those that it needs, or for the one before it. A condition
 * that is false skips its step, whose output is null.
 *
 * @since 0.1.0
 */
import * as Document from "@ballast/settings/Document"
import * as Field from "@ballast/settings/Field"
import type { Problem, SettingsRefused } from "@ballast/settings/SettingsRefused"
import type { Duration } from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Expression from "./Expression.ts"
import * as Service from "./Service.ts"

const identifier = Schema.String.check(Schema.makeFilter((text) => /^[A-Za-z_]\w{0,63}$/.test(text), {
  expected: "a name of letters, digits and _, at most 64"
}))

const count = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))

const Retry = Schema.Union([
  count(0, 20),
  Schema.Struct({
    times: count(0, 20).annotate({ description: "Attempts after the first." }),
    base: Schema.optionalKey(Field.duration({ minimum: "1ms", maximum: "1h" })).annotate({
      description: "Bound of the first wait; each next one is twice as long. Default 1s."
    }),
    cap: Schema.optionalKey(Field.duration({ minimum: "1ms", maximum: "1h" })).annotate({
      description: "The highest bound. Default 1m."
    })
  })
])

/**
 * What may be spent.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Budget = Schema.Struct({
  tokens: Schema.optionalKey(count(1, Number.MAX_SAFE_INTEGER)).annotate({ description: "Tokens of models." }),
  cost: Schema.optionalKey(Schema.Finite.check(Schema.isGreaterThan(0))).annotate({
    description: "Money, in the currency of the prices."
  }),
  time: Schema.optionalKey(Field.duration({ minimum: "1ms", maximum: "365d" })).annotate({
    description: "Time from the beginning, waits included."
  })
})

/**
 * One step.
 *
 * @category models
 * @since 0.1.0
 */
export interface Step {
  readonly id?: string
  readonly service?: string
  readonly input?: unknown
  readonly condition?: string
  readonly timeout?: Duration
  readonly retry?: typeof Retry.Type
  readonly needs?: ReadonlyArray<string>
  readonly parallel?: ReadonlyArray<Step>
  readonly forEach?: { readonly in: string; readonly concurrency?: number }
  readonly onError?: "fail" | "continue" | { readonly default: unknown } | { readonly steps: ReadonlyArray<Step> }
  readonly fallback?: string
  readonly cache?: Duration
  readonly budget?: typeof Budget.Type
  readonly idempotencyKey?: string
}

/** Steps in a list. */
const maxSteps = 500

const Steps = Schema.Array(Schema.suspend((): Schema.Codec<Step, unknown> => Step)).check(
  Schema.isNonEmpty(),
  Schema.isMaxLength(maxSteps)
)

/**
 * The schema of a step.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Step: Schema.Codec<Step, unknown> = Schema.Struct({
  id: Schema.optionalKey(identifier).annotate({
    description: "Its name in expressions and logs. Default: that of its service, with a number where that is taken."
  }),
  service: Schema.optionalKey(Schema.NonEmptyString).annotate({ description: "What it calls." }),
  input: Schema.optionalKey(Schema.Unknown).annotate({
    description: "What the service gets; texts may hold expressions. Default: the output of the step before."
  }),
  condition: Schema.optionalKey(Schema.String).annotate({
    description: "An expression; where it is false, the step is skipped and its output is null."
  }),
  timeout: Schema.optionalKey(Field.duration({ minimum: "1ms", maximum: "7d" })).annotate({
    description: "How long one attempt may take. It is interrupted then."
  }),
  retry: Schema.optionalKey(Retry).annotate({ description: "Attempts after the first, for failures that may pass." }),
  needs: Schema.optionalKey(Schema.Array(identifier)).annotate({
    description: "Steps that it waits for. Default: the one before it."
  }),
  parallel: Schema.optionalKey(Steps).annotate({
    description: "Steps that run at the same time, in place of a service; its output is theirs by id."
  }),
  forEach: Schema.optionalKey(Schema.Struct({
    in: Schema.String.annotate({ description: "An expression that gives a list." }),
    concurrency: Schema.optionalKey(count(1, 1000)).annotate({ description: "How many at a time. Default 4." })
  })).annotate({ description: "Calls the service for each element; its output is the list of outputs." }),
  onError: Schema.optionalKey(Schema.Union([
    Schema.Literals(["fail", "continue"]),
    Schema.Struct({ default: Schema.Unknown }),
    Schema.Struct({ steps: Steps })
  ])).annotate({
    description:
      "What happens when it fails for good: the run fails (default), goes on with null or with a default, or other steps run."
  }),
  fallback: Schema.optionalKey(Schema.NonEmptyString).annotate({
    description: "Another service that is called when this one has failed for good."
  }),
  cache: Schema.optionalKey(Field.duration({ minimum: "1s", maximum: "30d" })).annotate({
    description: "How long the output for the same input is used again, also by other runs."
  }),
  budget: Schema.optionalKey(Budget).annotate({ description: "What the step may spend." }),
  idempotencyKey: Schema.optionalKey(Schema.String).annotate({
    description: "What the service knows the call by. Default: the ids of run and step."
  })
})

/**
 * A whole file.
 *
 * @category schemas
 * @since 0.1.0
 */
export const File = Schema.Struct({
  workflow: Schema.Struct({
    name: identifier.annotate({ description: "What runs of it are started by." }),
    steps: Steps.annotate({ description: "The steps, in order." }),
    output: Schema.optionalKey(Schema.Unknown).annotate({
      description: "The result, with expressions. Default: the output of the last step."
    }),
    deadline: Schema.optionalKey(Field.duration({ minimum: "1s", maximum: "365d" })).annotate({
      description: "When a run fails that has not ended."
    }),
    budget: Schema.optionalKey(Budget).annotate({ description: "What a run may spend." }),
    finally: Schema.optionalKey(Steps).annotate({
      description: "Steps that run at the end, also of a run that failed or was cancelled."
    })
  }),
  services: Schema.optionalKey(Schema.Record(identifier, Service.Settings)).annotate({
    description: "What its steps call, beside the services that the program brings."
  })
})

/**
 * @category models
 * @since 0.1.0
 */
export type File = typeof File.Type

/**
 * What is known of a service when a workflow is checked.
 *
 * @category models
 * @since 0.1.0
 */
export interface Known {
  /** The type of its output, as expressions see it. Default: anything. */
  readonly output?: Expression.Type | undefined
}

/**
 * A step with everything that is settled when the file is read.
 *
 * @category models
 * @since 0.1.0
 */
export interface Planned {
  readonly id: string
  readonly step: Step
  /** Ids of the steps that it waits for. */
  readonly needs: ReadonlyArray<string>
  /** The id of the step whose output is `output`; undefined where it is the input of the run. */
  readonly before: string | undefined
  readonly path: ReadonlyArray<string | number>
  readonly parallel: ReadonlyArray<Planned>
  readonly onError: ReadonlyArray<Planned>
}

/**
 * A workflow without mistakes.
 *
 * @category models
 * @since 0.1.0
 */
export interface Definition {
  readonly name: string
  /** The text that it was read from: a run keeps it. */
  readonly text: string
  readonly file: File
  readonly steps: ReadonlyArray<Planned>
  readonly finally: ReadonlyArray<Planned>
}

const nameOf = ({ id, parallel, service }: Step): string =>
  id ?? service?.replace(/\W/g, "_") ?? (parallel ? "parallel" : "step")

/** Gives each step its id: one that is given, else the name of its service with a number where that is taken. */
const makeIds = () => {
  const taken = new Set<string>()
  return (step: Step): string => {
    const name = nameOf(step)
    let id = name
    if (step.id === undefined) { for (let n = 2; taken.has(id); n++) id = `${name}_${n}` }
    taken.add(id)
    return id
  }
}

type Path = ReadonlyArray<string | number>

const plan = (
  steps: ReadonlyArray<Step>,
  path: Path,
  idOf: (step: Step) => string,
  around: string | undefined,
  first = 0
): ReadonlyArray<Planned> => {
  const ids = steps.map(idOf)
  return steps.map((step, index): Planned => {
    const before = index === 0 ? undefined : ids[index - 1]
    const needs = step.needs ?? (before === undefined ? [] : [before])
    const own = [...path, first + index]
    const { onError } = step
    return {
      id: ids[index] ?? "",
      step,
      needs,
      before: step.needs === undefined ? before ?? around : step.needs.length === 1 ? step.needs[0] : around,
      path: own,
      parallel: step.parallel === undefined ? [] : side(step.parallel, [...own, "parallel"], idOf, before ?? around),
      onError: typeof onError === "object" && "steps" in onError
        ? plan(onError.steps, [...own, "onError", "steps"], idOf, before ?? around)
        : []
    }
  })
}

/** Steps side by side: none waits for another. */
const side = (steps: ReadonlyArray<Step>, path: Path, idOf: (step: Step) => string, around: string | undefined) =>
  steps.flatMap((step, index) => plan([step], path, idOf, around, index))

/**
 * Reads a workflow and checks it. Fails with every mistake, with line and column: what the schema does not allow, unknown services and steps,
 * cycles, references to steps that have not ended, and expressions that are wrong or of a wrong type.
 *
 * @category parsing
 * @since 0.1.0
 */
export const read = Effect.fnUntraced(function*(options: {
  readonly name: string
  readonly text: string
  /** The services beside those of the file, by name. */
  readonly services: Readonly<Record<string, Known>>
}): Effect.fn.Return<Definition, SettingsRefused> {
  const { problem, value: file } = yield* Document.decode(File, options)
  const idOf = makeIds()
  const definition: Definition = {
    name: file.workflow.name,
    text: options.text,
    file,
    steps: plan(file.workflow.steps, ["workflow", "steps"], idOf, undefined),
    finally: plan(file.workflow.finally ?? [], ["workflow", "finally"], idOf, undefined)
  }
  const own = Object.fromEntries(
    Object.entries(file.services ?? {}).map(([name, settings]) => [name, { output: Service.outputOf(settings) }])
  )
  yield* Document.refused(mistakes(definition, { ...options.services, ...own }, problem))
  return definition
})

const mistakes = (
  definition: Definition,
  services: Readonly<Record<string, Known>>,
  problem: (path: Path, reason: string) => Problem
): ReadonlyArray<Problem> => {
  const found: Array<Problem> = []
  const report = (path: Path, reason: string) => void found.push(problem(path, reason))
  const outputs = new Map<string, Expression.Type>()

  const checkService = (name: string | undefined, path: Path): void => {
    if (name !== undefined && !Object.hasOwn(services, name)) {
      report(path, `there is no service ${name}; known: ${Object.keys(services).join(", ") || "none"}`)
    }
  }
  const checkText = (text: string, path: Path, types: Expression.Types, expected?: string): void => {
    const compiled = Expression.compile(text, types)
    if (Result.isFailure(compiled)) return report(path, compiled.failure.detail)
    if (expected === undefined) return
    const type = compiled.success?.type ?? "string"
    if (type !== expected && type !== "dyn" && !type.startsWith(`${expected}<`)) {
      report(path, `it gives ${type}, expected ${expected}`)
    }
  }
  const checkValue = (value: unknown, path: Path, types: Expression.Types): void => {
    if (typeof value === "string") checkText(value, path, types)
    else if (Array.isArray(value)) value.forEach((item, index) => checkValue(item, [...path, index], types))
    else if (typeof value === "object" && value !== null) {
      for (const [key, item] of Object.entries(value)) checkValue(item, [...path, key], types)
    }
  }
  const checkStep = (planned: Planned, ended: ReadonlySet<string>): void => {
    const { before, path, step } = planned
    const types = (item: boolean): Expression.Types => ({
      input: "dyn",
      output: before === undefined ? "dyn" : outputs.get(before) ?? "dyn",
      steps: Object.fromEntries([...ended].map((id) => [id, outputs.get(id) ?? "dyn"])),
      item
    })
    if ((step.service === undefined) === (step.parallel === undefined)) {
      report(path, "a step has a service, or steps in parallel")
    }
    for (const key of ofServices) {
      if (step[key] !== undefined && step.parallel !== undefined) {
        report([...path, key], "it belongs to a step that calls a service; give it to the steps in parallel")
      }
    }
    for (const key of unsupported) if (step[key] !== undefined) report([...path, key], "not yet supported")
    checkService(step.service, [...path, "service"])
    checkService(step.fallback, [...path, "fallback"])
    const waits = (name = "") => definition.file.services?.[name]?.type === "approval"
    if (waits(step.fallback)) report([...path, "fallback"], "an approval is no fallback; ask in the steps of onError")
    if (waits(step.service)) {
      for (const key of ["timeout", "retry", "idempotencyKey"] as const) {
        if (step[key] !== undefined) {
          report([...path, key], "a step that waits for an approval has none; give the approval a deadline")
        }
      }
    }
    if (step.condition !== undefined) checkText(step.condition, [...path, "condition"], types(false), "bool")
    if (step.forEach !== undefined) checkText(step.forEach.in, [...path, "forEach", "in"], types(false), "list")
    if (step.idempotencyKey !== undefined) {
      checkText(step.idempotencyKey, [...path, "idempotencyKey"], types(step.forEach !== undefined))
    }
    if (step.input !== undefined) checkValue(step.input, [...path, "input"], types(step.forEach !== undefined))
    for (const other of planned.parallel) {
      if (other.step.needs !== undefined) report([...other.path, "needs"], "steps in parallel wait for none")
      checkStep(other, ended)
    }
    checkSteps(planned.onError, ended)
    const { service } = step
    // A fallback, a default or other steps may give anything; a step that was skipped gives null.
    const sure = step.condition === undefined && step.fallback === undefined && (step.onError ?? "fail") === "fail"
    if (sure && service !== undefined && Object.hasOwn(services, service)) {
      outputs.set(planned.id, step.forEach === undefined ? services[service]?.output ?? "dyn" : "list<dyn>")
    }
  }
  const checkSteps = (steps: ReadonlyArray<Planned>, around: ReadonlySet<string>): ReadonlySet<string> => {
    const byId = new Map(steps.map((planned) => [planned.id, planned]))
    steps.forEach((planned) => {
      planned.step.needs?.forEach((id, at) => {
        if (!byId.has(id)) {
          report([...planned.path, "needs", at], `there is no step ${id}; known: ${[...byId.keys()].join(", ")}`)
        }
      })
    })
    const done = new Set(around)
    const unique = byId.size === steps.length
    const cycle = unique ? cycleOf(steps) : undefined
    const [first] = cycle ?? []
    if (cycle !== undefined && first !== undefined) {
      report([...first.path, "needs"], `steps wait for each other: ${cycle.map(({ id }) => id).join(" → ")}`)
    }
    const sound = unique && cycle === undefined
    for (const planned of sound ? ordered(steps) : steps) {
      checkStep(planned, sound ? new Set([...around, ...ancestors(planned, byId)]) : done)
      done.add(planned.id)
    }
    return done
  }
  const checkServices = (): void => {
    const types: Expression.Types = { input: "dyn", output: "dyn", steps: {}, item: false }
    for (const [name, settings] of Object.entries(definition.file.services ?? {})) {
      const at = ["services", name]
      for (const { path, reason } of Service.mistakes(settings)) report([...at, ...path], reason)
      for (const { expected, path, value } of Service.templates(settings)) {
        if (expected !== undefined && typeof value === "string") checkText(value, [...at, ...path], types, expected)
        else checkValue(value, [...at, ...path], types)
      }
    }
  }
  if (definition.file.workflow.budget !== undefined) report(["workflow", "budget"], "not yet supported")
  const taken = new Set<string>()
  for (const { id, path } of everyStep([...definition.steps, ...definition.finally])) {
    if (taken.has(id)) report([...path, "id"], `another step is called ${id}`)
    taken.add(id)
  }
  checkServices()
  const done = checkSteps(definition.steps, new Set())
  checkSteps(definition.finally, done)
  const { output } = definition.file.workflow
  const last = definition.steps.at(-1)?.id
  checkValue(output, ["workflow", "output"], {
    input: "dyn",
    output: (last === undefined ? undefined : outputs.get(last)) ?? "dyn",
    steps: Object.fromEntries([...done].map((id) => [id, outputs.get(id) ?? "dyn"])),
    item: false
  })
  return found.sort((a, b) => (a.line ?? 0) - (b.line ?? 0) || (a.column ?? 0) - (b.column ?? 0))
}

/** What only a step that calls a service has. */
const ofServices = ["input", "timeout", "retry", "forEach", "fallback", "idempotencyKey"] as const

/** What the language has, and no runner does yet. */
const unsupported = ["cache", "budget"] as const

/** The steps with all that are within them. */
const everyStep = (steps: ReadonlyArray<Planned>): ReadonlyArray<Planned> =>
  steps.flatMap((planned) => [planned, ...everyStep(planned.parallel), ...everyStep(planned.onError)])

/** All steps that have ended when a step begins. */
const ancestors = (
  { needs }: Planned,
  byId: ReadonlyMap<string, Planned>,
  found: Set<string> = new Set()
): ReadonlySet<string> => {
  for (const id of needs) {
    const planned = byId.get(id)
    if (planned === undefined || found.has(id)) continue
    found.add(id)
    ancestors(planned, byId, found)
  }
  return found
}

/** The steps in an order in which each comes after those that it needs. They have no cycle. */
const ordered = (steps: ReadonlyArray<Planned>): ReadonlyArray<Planned> => {
  const byId = new Map(steps.map((planned) => [planned.id, planned]))
  const done = new Set<Planned>()
  const visit = (planned: Planned): void => {
    if (done.has(planned)) return
    for (const id of planned.needs) {
      const needed = byId.get(id)
      if (needed !== undefined) visit(needed)
    }
    done.add(planned)
  }
  steps.forEach(visit)
  return [...done]
}

/** A cycle among the steps, its first step again at its end; undefined without one. */
const cycleOf = (steps: ReadonlyArray<Planned>): ReadonlyArray<Planned> | undefined => {
  const byId = new Map(steps.map((planned) => [planned.id, planned]))
  const clean = new Set<Planned>()
  const visit = (planned: Planned, way: ReadonlyArray<Planned>): ReadonlyArray<Planned> | undefined => {
    if (way.includes(planned)) return [...way.slice(way.indexOf(planned)), planned]
    if (clean.has(planned)) return undefined
    for (const id of planned.needs) {
      const needed = byId.get(id)
      const cycle = needed && visit(needed, [...way, planned])
      if (cycle !== undefined) return cycle
    }
    clean.add(planned)
    return undefined
  }
  for (const planned of steps) {
    const cycle = visit(planned, [])
    if (cycle !== undefined) return cycle
  }
  return undefined
}
