/**
 * The load server: answers every chat request with the same completion, or streams it in 66 events: one write each, or, started with
 * `burst`, all in one, or with `paced` and a number of milliseconds, that far apart, each with the time when it was sent in `sent`.
 */
import { createServer, type ServerResponse } from "node:http"
import { completionBody, streamEvents } from "./traffic.ts"

/** Longer than a side waits for its next turn, whatever else the machine does. */
const keepAliveTimeout = 600_000

const burst = process.argv.includes("burst")
const trace = { "x-ds-trace-id": "6f1d2c3b4a5968778695a4b3c2d1e0f0" }

const stream = (response: ServerResponse, index: number): void => {
  const event = streamEvents[index]
  if (event === undefined || response.destroyed) {
    response.end()
    return
  }
  response.write(event)
  setImmediate(stream, response, index + 1)
}

const paced = process.argv.includes("paced") ? Number(process.argv.at(-1)) : undefined

/** So many events of a paced stream, then its end. */
const pacedEvents = 4

const streamPaced = (response: ServerResponse, pause: number, count: number): void => {
  if (count === pacedEvents || response.destroyed) return void response.end(streamEvents.at(-1))
  const sent = performance.timeOrigin + performance.now()
  response.write(`data: ${JSON.stringify({ choices: [{ index: 0, delta: { content: " ship" } }], sent })}\n\n`)
  setTimeout(streamPaced, pause, response, pause, count + 1)
}

createServer({ keepAliveTimeout }, (request, response) => {
  let body = ""
  request.setEncoding("utf8").on("data", (text: string) => {
    body += text
  })
  request.on("end", () => {
    if (request.url?.endsWith("/chat/completions") !== true) {
      response.writeHead(200, { "content-type": "application/json" }).end("{}")
    } else if (JSON.parse(body).stream === true) {
      response.writeHead(200, { "content-type": "text/event-stream; charset=utf-8", ...trace })
      if (paced !== undefined) streamPaced(response, paced, 0)
      else if (burst) response.end(streamEvents.join(""))
      else stream(response, 0)
    } else {
      response.writeHead(200, {
        "content-type": "application/json",
        "content-length": Buffer.byteLength(completionBody),
        ...trace
      })
      response.end(completionBody)
    }
  })
}).listen(Number(process.env.PORT), "127.0.0.1")
