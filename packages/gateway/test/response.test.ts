import { assert, describe, it } from "@effect/vitest"
import { once } from "node:events"
import { createServer, type RequestListener } from "node:http"
import { type AddressInfo, connect } from "node:net"
import * as endOfTurn from "../src/internal/endOfTurn.ts"
import { Response } from "../src/internal/gateway/response.ts"

/** What a client gets, as it comes over the connection, for each of its requests. */
const answered = async (listener: RequestListener, requests = 1): Promise<ReadonlyArray<string>> => {
  const server = createServer({ ServerResponse: Response }, listener).listen(0, "127.0.0.1")
  await once(server, "listening")
  const { port } = server.address() as AddressInfo
  const texts = await Promise.all(Array.from({ length: requests }, async () => {
    const socket = connect(port, "127.0.0.1")
    socket.write("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
    return (await socket.setEncoding("utf8").toArray()).join("")
  }))
  server.close()
  return texts
}

const bodyOf = (text = ""): string => text.slice(text.indexOf("\r\n\r\n") + 4)

describe("response", () => {
  it("is sent after the rows of its turn", async () => {
    const seen: Array<string> = []
    const [text] = await answered((_request, response) => {
      response.on("finish", () => seen.push("answer"))
      response.end("hello")
      seen.push(`ended: ${response.writableEnded}`)
      endOfTurn.beforeAnswers(() => seen.push("row"))
    })
    assert.deepStrictEqual(seen, ["ended: true", "row", "answer"])
    assert.strictEqual(bodyOf(text), "hello")
  })

  it("sends all that a turn writes as one piece", async () => {
    const [text] = await answered((_request, response) => {
      response.write("one ")
      response.write("two")
      setTimeout(() => {
        response.write("three ")
        response.end("four")
      }, 20)
    })
    assert.strictEqual(bodyOf(text), "7\r\none two\r\na\r\nthree four\r\n0\r\n\r\n")
  })

  it("that can't be sent is cut off alone", async () => {
    let count = 0
    const texts = await answered((_request, response) => {
      response.strictContentLength = true
      response.setHeader("content-length", 5)
      response.end(count++ === 0 ? "too long for that" : "hello")
    }, 3)
    assert.deepStrictEqual(texts.map(bodyOf).sort(), ["", "hello", "hello"])
  })

  it("reaches every client after its row, however many a turn answers", async () => {
    const waiting: Array<() => void> = []
    const written = new Set<object>()
    let early = 0
    const texts = await answered((_request, response) => {
      response.on("finish", () => early += written.has(response) ? 0 : 1)
      waiting.push(() => {
        response.end("hello")
        endOfTurn.beforeAnswers(() => written.add(response))
      })
      if (waiting.length === 200) { for (const end of waiting) end() }
    }, 200)
    assert.strictEqual(texts.filter((text) => bodyOf(text).includes("hello")).length, 200)
    assert.strictEqual(early, 0)
  })
})
