import { spawn } from "node:child_process"
import { once } from "node:events"
import { freePort } from "./process.ts"

/** A `redis-server` of the bench's own, which must be installed. */
export const startRedis = async (): Promise<{ readonly url: string; readonly stop: () => Promise<void> }> => {
  const port = await freePort()
  const server = spawn("redis-server", ["--port", `${port}`, "--bind", "127.0.0.1", "--save", "", "--dir", "/tmp"], {
    stdio: ["ignore", "pipe", "inherit"]
  })
  const exited = once(server, "exit")
  for await (const text of server.stdout) {
    if (String(text).includes("Ready to accept connections")) break
  }
  return {
    url: `redis://127.0.0.1:${port}`,
    stop: async () => {
      server.kill()
      await exited
    }
  }
}
