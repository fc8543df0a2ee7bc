import type { Started } from "./bench.ts"
import { concurrency, type Measured } from "./measure.ts"
import type { Way } from "./partialGateways.ts"
import { freePort, type Server, startServer } from "./process.ts"
import { complete, type Manner, stream as streamed } from "./side/undici.ts"

/** CPU time of a server under the load of this process. */
export const measured = async (
  started: Started,
  name: string,
  starting: Promise<Server>,
  load: Load,
  lanes: number,
  manner?: Manner
): Promise<Measured> => {
  const { cpu, stop, url } = await starting
  started(stop)
  const side = await (load === "complete" ? complete : streamed)(url, lanes, manner)
  return {
    name,
    block: async (operations) => {
      const cpuBefore = await cpu()
      const wallBefore = performance.now()
      const checksum = await side(operations)
      return { cpu: await cpu() - cpuBefore, wall: (performance.now() - wallBefore) * 1000, checksum }
    }
  }
}

/** What is asked for. */
export type Load = "complete" | "stream"

/** Gateways in one process, by their names, as sides: its CPU time while one of them is called is that one's. */
export const partial = async (
  started: Started,
  service: Server,
  ways: Readonly<Record<string, Way>>
): Promise<ReadonlyArray<Measured>> => {
  const ports = await Promise.all(Object.keys(ways).map(freePort))
  const server = await startServer("bench/src/partialGateways.ts", {
    // That of the last to start.
    port: ports.at(-1),
    args: Object.values(ways).map((way, index) =>
      JSON.stringify({
        ...way,
        env: {
          DEEPSEEK_API_KEY: "bench",
          DEEPSEEK_BASE_URL: service.url,
          OTEL_EXPORTER_OTLP_ENDPOINT: "",
          ...way.env,
          PORT: `${ports[index]}`
        }
      })
    )
  })
  started(server.stop)
  return Promise.all(
    Object.keys(ways).map((name, index) =>
      measured(
        () => {},
        name,
        Promise.resolve({ ...server, url: `http://127.0.0.1:${ports[index]}` }),
        "complete",
        concurrency
      )
    )
  )
}
