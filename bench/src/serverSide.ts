import type { Started } from "./bench.ts"
import type { Measured } from "./measure.ts"
import type { Server } from "./process.ts"
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

/**
 * Several processes of the same kind as one side. How well the engine optimises a process is luck: two of the same differ by several per cent.
 */
export const together = (processes: ReadonlyArray<Measured>): Measured => ({
  name: processes[0]?.name ?? "",
  block: async (operations) => {
    let [cpu, wall, checksum] = [0, 0, 0]
    for (const { block } of processes) {
      const sample = await block(operations / processes.length)
      cpu += sample.cpu
      wall += sample.wall
      checksum += sample.checksum
    }
    return { cpu, wall, checksum }
  }
})
