/** The least that a gateway can do: passes every request on and its answer back, over kept connections. */
import { Agent, createServer, request as send } from "node:http"
import { pipeline } from "node:stream"

const upstream = new URL(process.env.DEEPSEEK_BASE_URL ?? "")
const agent = new Agent({ keepAlive: true })
const { DEEPSEEK_API_KEY, PORT } = process.env
const drop = () => {}

// The load waits for its next turn longer than Node's 5 seconds where the machine does other things, too.
createServer({ keepAliveTimeout: 600_000 }, (request, response) => {
  const onward = send({
    agent,
    host: upstream.hostname,
    port: upstream.port,
    method: request.method,
    path: request.url,
    headers: { ...request.headers, host: upstream.host, authorization: `Bearer ${DEEPSEEK_API_KEY}` }
  })
  onward.on("response", (answer) => {
    response.writeHead(answer.statusCode ?? 502, answer.headers)
    pipeline(answer, response, drop)
  })
  onward.on("error", () => response.writeHead(502).end())
  pipeline(request, onward, drop)
}).listen(Number(PORT), "127.0.0.1")
