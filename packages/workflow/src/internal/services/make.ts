/** Makes services of files, within their policies. */
import * as Effect from "effect/Effect"
import type * as Expression from "../../Expression.ts"
import { masked } from "../masked.ts"
import * as Policies from "../policies.ts"
import * as Template from "../template.ts"
import { CurrentCall, fail, type Parts, type Service, ServiceError } from "./contract.ts"
import { callHttp } from "./http.ts"
import { callModel, failureOf } from "./model.ts"
import { callOnnx } from "./onnx.ts"
import { writeReport } from "./report.ts"
import { applyRules } from "./rule.ts"
import { outputOf, type Settings } from "./settings.ts"

export interface Options {
  /** In the messages and metrics of its policies. */
  readonly name: string
  /** That of the file that the settings name. */
  readonly text: string
  /** Is told the handles of its policies when they are made, before its first call. */
  readonly register?: Policies.Register | undefined
}

export const make = (settings: Settings, parts: Parts, { name, register, text }: Options): Service => {
  const call: Service["call"] = (input, context) =>
    Effect.mapError(
      callOf(settings, parts, text)(input, context),
      (error) => new ServiceError({ ...error, detail: masked(error.detail, parts.env ?? {}) })
    )
  const output = outputOf(settings)
  if (settings.type !== "http" && settings.type !== "model" && settings.type !== "onnx") return { output, call }
  const around = Policies.around(name, settings, register)
  return {
    output,
    call: (input, context) =>
      Effect.mapError(
        around(call(input, context)),
        (error) => error instanceof ServiceError ? error : failureOf(error)
      )
  }
}

const callOf =
  (settings: Settings, parts: Parts, text: string): Service["call"] =>
  (input, context): Effect.Effect<unknown, ServiceError> => {
    const scope: Expression.Scope = {
      input,
      output: input,
      steps: {},
      env: parts.env ?? {},
      run: { id: context.runId, workflow: context.workflow }
    }
    const evaluate = (value: unknown, output = input) =>
      Effect.mapError(
        Effect.fromResult(Template.evaluate(value, { ...scope, output })),
        ({ message }) => new ServiceError({ detail: message, retryable: false })
      )
    switch (settings.type) {
      case "http":
        return parts.http === undefined
          ? fail("the program has no HTTP client for services")
          : callHttp(settings, parts.http, evaluate, input, context)
      case "model":
        return parts.model === undefined
          ? fail("the program has no model for services")
          : callModel(settings, { ...parts, model: parts.model }, evaluate, input, context).pipe(
            Effect.provideService(CurrentCall, context)
          )
      case "onnx":
        return parts.localModels === undefined
          ? fail("the program has no local models for services")
          : callOnnx(settings, parts.localModels, evaluate, input)
      case "rule":
        return applyRules(settings, evaluate)
      case "report":
        return writeReport(settings, parts, evaluate, input, context, text)
      case "approval":
      case "workflow":
        return fail(`a service of the type ${settings.type} can not be called`)
    }
  }
