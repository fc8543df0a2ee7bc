/**
 * One side of a comparison in a process of its own: `worker.ts <module of side/> <export> <url> <calls in flight>`. Each message
 * asks for a number of operations and is answered with what they cost.
 */
import type { Sample, Side } from "./measure.ts"

const [module = "", name = "", url = "", lanes] = process.argv.slice(2)
const sides: Record<string, (url: string, lanes: number) => Promise<Side>> = await import(`./side/${module}.ts`)
const side = await sides[name]?.(url, Number(lanes))

process.on("message", async ({ operations }: { readonly operations: number }) => {
  if (side === undefined) throw new Error(`There is no side ${module}.${name}`)
  const cpu = process.cpuUsage()
  const wall = performance.now()
  const checksum = await side(operations)
  const { system, user } = process.cpuUsage(cpu)
  const sample: Sample = { cpu: system + user, wall: (performance.now() - wall) * 1000, checksum }
  process.send?.(sample)
})
process.on("disconnect", () => process.exit())
