/**
 * An upstream that misbehaves as the text of the request's message says, on a free port of loopback. It prints the port, and ends with its
 * parent.
 */
import * as Http from "node:http"
import type * as Net from "node:net"

const filler = "a".repeat(64 * 1024)

/** Writes again and again until the other side has had enough, for 15 seconds at most. */
const flood = (response: NodeJS.WritableStream & { readonly destroyed?: boolean }, text: string) => {
  const end = Date.now() + 15_000
  const write = () => {
    while (Date.now() < end && response.destroyed !== true) {
      if (!response.write(text)) return void response.once("drain", write)
    }
  }
  write()
}

const json = (response: Http.ServerResponse, status: number, body: unknown) =>
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body))

const events = (response: Http.ServerResponse) => response.writeHead(200, { "content-type": "text/event-stream" })

const message = { role: "assistant", content: "Hello." }

const completion = {
  id: "1",
  object: "chat.completion",
  created: 1,
  model: "deepseek-flash",
  choices: [{ index: 0, message, finish_reason: "stop", logprobs: null }],
  usage: { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 }
}

const chunk = (choices: ReadonlyArray<unknown>) =>
  `data: ${
    JSON.stringify({ id: "1", object: "chat.completion.chunk", created: 1, model: "deepseek-flash", choices })
  }\n\n`

const choice = (delta: unknown, finish_reason: string | null = null) => [{ index: 0, delta, finish_reason }]

const toolCalls = (count: number) =>
  Array.from({ length: count }, (_, index) => ({
    index,
    id: `call_${index}`,
    type: "function",
    function: { name: "f", arguments: "{}" }
  }))

const finished = chunk(choice({ content: "Hello." })) + chunk(choice({}, "stop")) + "data: [DONE]\n\n"

/** A whole answer of 60 MiB, made when it is first asked for. */
let large: Buffer | undefined
const makeLarge = () => {
  const content = "a".repeat(60 * 1024 * 1024)
  return Buffer.from(JSON.stringify({
    ...completion,
    choices: [{ index: 0, message: { ...message, content }, finish_reason: "stop" }]
  }))
}

const scenarios: Record<string, (response: Http.ServerResponse) => unknown> = {
  mask: (response) =>
    json(response, 400, { error: { message: `unknown role ${"*".repeat(100_000)}`, code: "invalid" } }),
  blanks: (response) => json(response, 400, { error: { message: `Model${" ".repeat(100_000)}does not exist` } }),
  "endless whole": (response) => {
    response.writeHead(200, { "content-type": "application/json" }).write("{\"choices\":[{\"message\":{\"content\":\"")
    flood(response, filler)
  },
  "large whole": (response) =>
    response.writeHead(200, { "content-type": "application/json" }).end(large ??= makeLarge()),
  "endless error": (response) => {
    response.writeHead(400, { "content-type": "application/json" }).write("{\"error\":{\"message\":\"")
    flood(response, filler)
  },
  "endless empty": (response) => flood(events(response), chunk([]).repeat(100)),
  tools: (response) => {
    const first = chunk(choice({ role: "assistant", tool_calls: toolCalls(100_000) }))
    events(response).end(first + chunk(choice({}, "tool_calls")) + "data: [DONE]\n\n")
  },
  late: (response) => {
    events(response).write(finished)
    response.end(filler.repeat(128))
  },
  interim: (response) => {
    const socket: Net.Socket | null = response.socket
    if (socket !== null) flood(socket, "HTTP/1.1 102 Processing\r\n\r\n".repeat(1_000))
  },
  failing: (response) => json(response, 500, { error: { message: "down" } })
}

/** The name of a scenario stands at the end of the first 400 bytes, where the messages are. */
const scenarioOf = (head: string) => scenarios[/"content":"([\w ]+)"/.exec(head.slice(0, 400))?.[1] ?? ""]

const server = Http.createServer((request, response) => {
  let head = ""
  response.on("error", () => {})
  request.on("data", (part: Buffer) => {
    if (head.length < 400) head += part.subarray(0, 400).toString()
  })
  request.on("end", () => {
    const run = scenarioOf(head) ?? ((response) => {
      if (head.includes("\"stream\":true")) events(response).end(finished)
      else json(response, 200, completion)
    })
    run(response)
  })
})
server.on("clientError", (_, socket) => socket.destroy())
server.listen(0, "127.0.0.1", () => console.log((server.address() as Net.AddressInfo).port))

process.on("disconnect", () => process.exit())
