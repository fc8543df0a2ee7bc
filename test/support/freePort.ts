import { randomInt } from "node:crypto"
import { createServer } from "node:net"

/** Whether nothing listens on a port of the loopback interface; 0 for any. Gives the port. */
const probe = (port: number): Promise<number> =>
  new Promise((resolve, reject) => {
    const server = createServer()
    server.once("error", reject)
    server.listen(port, "127.0.0.1", () => {
      const address = server.address()
      server.close(() =>
        address !== null && typeof address === "object"
          ? resolve(address.port)
          : reject(new Error("The system gave no port"))
      )
    })
  })

/** A port of the loopback interface on which nothing listens. */
export const freePort = (): Promise<number> => probe(0)

/** The first of so many ports in a row. They are below those that the system gives to connections. */
export const freePorts = async (count: number): Promise<number> => {
  for (;;) {
    const first = randomInt(15_000, 30_000)
    const ports = Array.from({ length: count }, (_, index) => first + index)
    const free = await Promise.allSettled(ports.map(probe))
    if (free.every(({ status }) => status === "fulfilled")) return first
  }
}
