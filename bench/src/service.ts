/**
 * The load server: answers every chat request with the same completion, or streams it in 66 events: one write each, or, started with
 * `burst`, all in one.
 */
import { createServer, type ServerResponse } from "node:http"
import { completionBody, streamEvents } from "./traffic.ts"

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

createServer((request, response) => {
  let body = ""
  request.setEncoding("utf8").on("data", (text: string) => {
    body += text
  })
  request.on("end", () => {
    if (request.url?.endsWith("/chat/completions") !== true) {
      response.writeHead(200, { "content-type": "application/json" }).end("{}")
    } else if (JSON.parse(body).stream === true) {
      response.writeHead(200, { "content-type": "text/event-stream; charset=utf-8", ...trace })
      if (burst) response.end(streamEvents.join(""))
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
