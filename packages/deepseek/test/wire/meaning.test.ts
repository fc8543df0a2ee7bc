import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { consume, reasonOf, request, scripted } from "../support/client.ts"
import type * as Scripted from "../support/scripted.ts"
import { sse } from "../support/wire.ts"

const json = (status: number, body: unknown): Scripted.Reply => ({ status, body: [JSON.stringify(body)] })
const error = (message: string, more: object = {}) => ({ error: { message, ...more } })

/** What hosts of the models answer, and what it means, whatever the status says. */
const meanings: ReadonlyArray<readonly [host: string, status: number, body: unknown, tag: string, more?: object]> = [
  ["one-api", 403, error("the quota does not suffice", { code: "insufficient_user_quota" }), "InsufficientBalance"],
  ["one-api", 403, { code: "INSUFFICIENT_BALANCE", message: "The balance does not suffice" }, "InsufficientBalance"],
  [
    "Ark",
    403,
    error("The account is overdue", { code: "AccountOverdueError", type: "Forbidden" }),
    "InsufficientBalance"
  ],
  ["Model Studio", 400, error("Access denied, be in good standing", { code: "Arrearage" }), "InsufficientBalance"],
  [
    "SiliconFlow",
    403,
    { code: 30001, message: "Sorry, the account balance is insufficient", data: null },
    "InsufficientBalance"
  ],
  ["OpenAI", 429, error("You exceeded your current quota", { code: "insufficient_quota" }), "InsufficientBalance"],
  ["a proxy of many", 500, error("账户余额不足"), "InsufficientBalance"],
  ["OpenRouter", 200, error("Insufficient credits", { code: 402 }), "InsufficientBalance"],
  ["MiniMax", 200, { base_resp: { status_code: 1008, status_msg: "insufficient balance" } }, "InsufficientBalance"],
  ["a rate told as a quota", 429, error("You exceeded your quota of 60 requests per minute"), "RateLimited"],
  ["a balancer", 503, error("load balancer: no healthy upstream"), "Overloaded"],
  ["Azure", 400, error("blocked", { code: "content_filter" }), "ContentRejected"],
  ["Model Studio", 400, error("no", { code: "DataInspectionFailed" }), "ContentRejected"],
  ["Ark", 400, error("no", { code: "InputTextSensitiveContentDetected.SevereViolation" }), "ContentRejected"],
  ["OpenRouter", 403, error("Your input was flagged", { code: 403 }), "ContentRejected"],
  ["Zhipu", 400, error("no", { code: "1301" }), "ContentRejected"],
  ["vLLM", 404, error("The model `x` does not exist.", { type: "NotFoundError", code: 404 }), "UnknownModel"],
  ["Ark", 404, error("no access", { code: "InvalidEndpointOrModel.NotFound" }), "UnknownModel"],
  ["SiliconFlow", 400, { code: 20012, message: "Model does not exist.", data: null }, "UnknownModel"],
  ["OpenRouter", 400, error("x/y is not a valid model ID", { code: 400 }), "UnknownModel"],
  ["Ollama", 404, { error: "model 'qwen3' not found, try pulling it first" }, "UnknownModel"],
  ["a wrong path", 404, error("Invalid URL (POST /v2/chat/completions)"), "NotFound"],
  [
    "OpenAI",
    400,
    error("This model's maximum context length is 4096 tokens.", { code: "context_length_exceeded" }),
    "ContextLengthExceeded",
    { limit: 4096 }
  ],
  ["llama.cpp", 500, error("too large", { type: "exceed_context_size_error", code: 500 }), "ContextLengthExceeded"],
  [
    "SiliconFlow",
    400,
    { code: 20015, message: "length of prompt_tokens (68957) must be less than max_seq_len (65536)." },
    "ContextLengthExceeded",
    { limit: 65536, requested: 68957 }
  ],
  [
    "Model Studio",
    400,
    error("Range of input length should be [1, 30720]", { code: "InvalidParameter" }),
    "ContextLengthExceeded"
  ],
  [
    "a tool that is missing",
    400,
    error("tool `x` does not exist", { type: "invalid_request_error" }),
    "InvalidRequest"
  ],
  ["a timeout", 408, error("Request timed out"), "TemporarilyRefused"],
  ["a conflict", 409, error("another one"), "TemporarilyRefused"],
  ["too early", 425, error("early"), "TemporarilyRefused"],
  ["Anthropic", 529, error("Overloaded"), "Overloaded"],
  ["Ark", 429, error("no resources", { code: "ServerOverloaded" }), "Overloaded"],
  ["Zhipu", 429, error("并发数过高", { code: "1302" }), "ConcurrencyExceeded"],
  ["Model Studio", 429, error("slow down", { code: "Throttling.RateQuota" }), "RateLimited"],
  ["a 500 around a 400", 500, error("temperature is too high", { code: 400 }), "InvalidRequest"],
  [
    "Anthropic, about money under 400",
    400,
    {
      type: "error",
      error: { type: "invalid_request_error", message: "Your credit balance is too low to access the Anthropic API." }
    },
    "InsufficientBalance"
  ],
  [
    "Fireworks",
    412,
    error("Account a is suspended, possibly due to reaching the monthly spending limit", { code: "PRECONDITION" }),
    "InsufficientBalance"
  ],
  ["xAI", 403, { code: "no permission", error: "Your team doesn't have any credits yet." }, "InsufficientBalance"],
  [
    "xAI, all used",
    429,
    { code: "exhausted", error: "Your team has used all available credits." },
    "InsufficientBalance"
  ],
  [
    "Ark's trial",
    429,
    error("Your account has exhausted its free trial quota.", { code: "QuotaExceeded" }),
    "InsufficientBalance"
  ],
  [
    "Moonshot",
    429,
    error("Your account is suspended", { type: "exceeded_current_quota_error" }),
    "InsufficientBalance"
  ],
  ["LiteLLM", 400, error("Budget has been exceeded!", { type: "budget_exceeded" }), "InsufficientBalance"],
  [
    "Gemini, a rate told as a quota",
    429,
    [{ error: { code: 429, message: "You exceeded your current quota, see https://example.com/rate-limits" } }],
    "RateLimited"
  ],
  [
    "a request that speaks of money",
    400,
    error("messages.0: 'the balance is too low' is no role", { type: "invalid_request_error" }),
    "InvalidRequest"
  ],
  [
    "TGI",
    422,
    { error: "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096.", error_type: "validation" },
    "ContextLengthExceeded"
  ],
  [
    "Groq, a request that is larger than the rate",
    413,
    error("Request too large on tokens per minute, please reduce your message size", { code: "rate_limit_exceeded" }),
    "ContextLengthExceeded"
  ],
  ["GitHub", 413, error("Request body too large", { code: "tokens_limit_reached" }), "ContextLengthExceeded"],
  ["Azure", 404, error("The API deployment does not exist", { code: "DeploymentNotFound" }), "UnknownModel"],
  ["Hugging Face", 400, error("no provider has it", { code: "model_not_supported" }), "UnknownModel"],
  ["Novita", 400, { code: 404, reason: "MODEL_NOT_FOUND", message: "no" }, "UnknownModel"],
  [
    "OpenRouter, around a provider's answer",
    400,
    error("Provider returned error", {
      code: 400,
      metadata: { raw: JSON.stringify(error("This model's maximum context length is 4096 tokens.")) }
    }),
    "ContextLengthExceeded",
    { limit: 4096 }
  ],
  ["a 200 with a status", 200, { detail: "no", status_code: 422, code: "x" }, "InvalidRequest"]
]

describe("the meaning of an error", () => {
  it.effect.each(meanings)("%s, %s: %j is %s", ([, status, body, tag, more]) =>
    Effect.gen(function*() {
      const deepseek = yield* scripted(json(status, body))
      assert.deepInclude(yield* reasonOf(deepseek.complete(request)), { _tag: tag, stated: true, ...more })
    }))

  it.effect.each(
    meanings.filter(([, status, body]) => status === 200 && JSON.stringify(body).startsWith("{\"error\""))
  )(
    "is the same in a stream: %s",
    ([, , body, tag]) =>
      Effect.gen(function*() {
        const { exit } = yield* consume(yield* scripted(sse([`data: ${JSON.stringify(body)}\n\n`])))
        assert.deepInclude(yield* reasonOf(exit), { _tag: tag, stated: true })
      })
  )
})

const words: ReadonlyArray<readonly [shape: string, body: unknown, detail: string]> = [
  ["error as text", { error: "in words" }, "in words"],
  ["errors as a list", { error: [{ message: "one" }, "two"] }, "one; two"],
  ["detail", { detail: "in words" }, "in words"],
  [
    "FastAPI's list",
    { detail: [{ loc: ["body", "messages", 0], msg: "Field required", type: "missing" }] },
    "body.messages.0: Field required"
  ],
  ["message", { message: "in words" }, "in words"],
  ["code, message, data", { code: 50000, message: "in words", data: null }, "in words"],
  ["error_code, message", { error_code: "BAD_REQUEST", message: "in words" }, "in words"],
  ["a list of errors", [error("in words")], "in words"],
  ["base_resp", { base_resp: { status_code: 2013, status_msg: "in words" } }, "in words"],
  ["JSON text", "in words", "in words"],
  ["problem details", { type: "about:blank", title: "Bad", detail: "in words" }, "in words"],
  ["a title", { type: "about:blank", title: "in words", status: 422 }, "in words"],
  ["the status by name, and a list", { statusCode: 400, error: "Bad", message: ["in words"] }, "Bad: in words"],
  ["error_description", { error: "invalid_token", error_description: "in words" }, "invalid_token: in words"],
  ["fields", { title: "Not valid", status: 400, errors: { messages: ["in words"] } }, "Not valid: in words"],
  [
    "a provider's words",
    error("Provider returned error", { metadata: { raw: "in words" } }),
    "Provider returned error: in words"
  ],
  ["Message", { Message: "in words" }, "in words"],
  ["error_message", { error_message: "in words" }, "in words"],
  ["errmsg", { errcode: 7, errmsg: "in words" }, "in words"],
  ["errors", { errors: [{ code: 7, message: "in words" }] }, "in words"]
]

describe("the status of an error", () => {
  it.effect("counts however its body ends", () =>
    Effect.gen(function*() {
      const body = ["{\"error\":{\"message\":\"no"]
      for (const end of ["cut", "stall"] as const) {
        const deepseek = yield* scripted({ status: 401, body, end })
        const fiber = yield* Effect.forkChild(reasonOf(deepseek.complete(request)))
        yield* TestClock.adjust("5 seconds")
        assert.deepInclude(yield* Fiber.join(fiber), { _tag: "Unauthorized", stated: false })
      }
    }))
})

describe("the words of an error", () => {
  it.effect.each(words)("are told whatever the status: %s", ([, body, detail]) =>
    Effect.gen(function*() {
      for (const status of [400, 401, 404, 422, 429, 500, 502, 503]) {
        const reason = yield* reasonOf((yield* scripted(json(status, body))).complete(request))
        assert.deepInclude(reason, { detail, stated: true }, String(status))
      }
    }))

  it.effect("are told where an event stands in the place of a body", () =>
    Effect.gen(function*() {
      const data = JSON.stringify({ code: "InvalidParameter", message: "in words" })
      const body = [`id:1\nevent:error\n:HTTP_STATUS/400\ndata:${data}\n\n`]
      const reason = yield* reasonOf((yield* scripted({ status: 400, body })).complete(request))
      assert.deepInclude(reason, { _tag: "InvalidRequest", detail: "in words", stated: true })
    }))

  it.effect("stay inside where a page or a proxy speaks", () =>
    Effect.gen(function*() {
      const page = "<html><title>no balance</title></html>"
      const routed = error("Provider returned error", { metadata: { raw: page } })
      assert.deepInclude(yield* reasonOf((yield* scripted(json(503, routed))).complete(request)), {
        detail: "Provider returned error"
      })
      for (const text of [page, "upstream 10.0.0.1 out of credits"]) {
        const reason = yield* reasonOf((yield* scripted({ status: 503, body: [text] })).complete(request))
        assert.deepInclude(reason, { _tag: "Overloaded", stated: false })
      }
    }))

  it.effect("are no error where JSON of another shape says that all is well", () =>
    Effect.gen(function*() {
      for (
        const body of [{ code: 0, message: "success" }, { base_resp: { status_code: 0, status_msg: "success" } }, {
          message: "hello"
        }, "hello"]
      ) {
        const reason = yield* reasonOf((yield* scripted(json(200, body))).complete(request))
        assert.deepInclude(reason, { _tag: "MalformedBody", lasting: true })
      }
    }))
})
