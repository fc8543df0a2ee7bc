/** Portkey's gateway on `PORT`, which it takes as an argument only. */
import { Server } from "node:http"

// Longer than a side waits for its next turn, as the other servers do: Node's 5 seconds are too short for that.
const { listen } = Server.prototype
Server.prototype.listen = function(this: Server, ...args: Array<unknown>) {
  this.keepAliveTimeout = 600_000
  return Reflect.apply(listen, this, args) as Server
}
process.argv.push(`--port=${process.env.PORT}`, "--headless")
await import("@portkey-ai/gateway/build/start-server.js")
