/** Receivers of alerts on loopback: a chat robot that checks signatures as DingTalk and Feishu do, and a sink for mail. */
import { Effect, type Scope } from "effect"
import { createHmac } from "node:crypto"
import { createServer } from "node:http"
import { type AddressInfo, createServer as createTcpServer, type Server } from "node:net"

export const secret = "SEC-of-the-robot"

export interface Message {
  readonly path: string
  readonly query: URLSearchParams
  readonly signed: boolean
  // oxlint-disable-next-line typescript/no-explicit-any -- the body of a message is whatever it is
  readonly body: any
}

export interface Receiver {
  readonly url: string
  readonly received: ReadonlyArray<Message>
}

const hmac = (key: string, text: string) => createHmac("sha256", key).update(text).digest("base64")

/** DingTalk signs the address, Feishu the body. A time that is more than an hour away does not count. */
const isSigned = (query: URLSearchParams, body: Message["body"]): boolean => {
  const millis = Number(query.get("timestamp") ?? Number(body.timestamp) * 1000)
  if (!(Math.abs(Date.now() - millis) < 3_600_000)) return false
  return query.has("sign")
    ? query.get("sign") === hmac(secret, `${millis}\n${secret}`)
    : body.sign === hmac(`${body.timestamp}\n${secret}`, "")
}

const listening = (server: Server): Effect.Effect<number, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<number>((resume) => {
      server.listen(0, "127.0.0.1", () => resume(Effect.succeed((server.address() as AddressInfo).port)))
    }),
    () => Effect.sync(() => server.close())
  )

export const receive = Effect.fnUntraced(function*(
  answer: object = { errcode: 0, errmsg: "ok", code: 0 },
  redirect?: string
) {
  const received: Array<Message> = []
  const server = createServer((request, response) => {
    let text = ""
    request.setEncoding("utf8").on("data", (part: string) => text += part)
    request.on("end", () => {
      const { pathname: path, searchParams: query } = new URL(request.url ?? "/", "http://robot")
      const body = JSON.parse(text)
      received.push({ path, query, signed: isSigned(query, body), body })
      if (redirect !== undefined) response.setHeader("location", redirect).statusCode = 307
      response.setHeader("content-type", "application/json").end(JSON.stringify(answer))
    })
  })
  const port = yield* listening(server)
  yield* Effect.addFinalizer(() => Effect.sync(() => server.closeAllConnections()))
  return { url: `http://127.0.0.1:${port}`, received }
})

/** Takes every mail (RFC 5321, as little of it as a sender needs) and keeps its text. */
export const mailSink = Effect.fnUntraced(function*() {
  const mails: Array<string> = []
  const server = createTcpServer((socket) => {
    let mail: string | undefined
    let rest = ""
    const line = (text: string) => {
      if (mail !== undefined) {
        if (text !== ".") return void (mail += `${text}\n`)
        mails.push(mail)
        mail = undefined
        return void socket.write("250 taken\r\n")
      }
      if (/^DATA/i.test(text)) {
        mail = ""
        socket.write("354 go on\r\n")
      } else if (/^QUIT/i.test(text)) socket.end("221 bye\r\n")
      else socket.write("250 sink\r\n")
    }
    socket.write("220 sink\r\n")
    socket.on("error", () => {})
    socket.setEncoding("utf8").on("data", (text: string) => {
      const lines = (rest + text).split("\r\n")
      rest = lines.pop() ?? ""
      for (const one of lines) line(one)
    })
  })
  const port = yield* listening(server)
  return { port, mails: mails as ReadonlyArray<string> }
})
