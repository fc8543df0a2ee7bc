/** `npm run bench [-- --only NAME] [-- --json FILE]` */
import * as Fs from "node:fs"
import { parseArgs } from "node:util"
import { showHelp } from "../../scripts/help.ts"
import type { Bench } from "./bench.ts"
import { benches } from "./benches.ts"
import * as firstCall from "./firstCall.ts"
import * as inference from "./inference.ts"
import { concurrency, measure } from "./measure.ts"
import { plotThroughput } from "./plot.ts"
import { startServer } from "./process.ts"
import { circumstances, type Outcome, outcome, showCircumstances, showOutcome } from "./report.ts"
import * as streams from "./streams.ts"
import * as waiting from "./waiting.ts"

const names = [...Object.keys(benches), "first-call", "streams", "waiting", "inference"].join(", ")

showHelp(`npm run bench [-- --only NAME ...] [-- --json FILE] [-- --plot FILE]

Runs the comparisons, or only the named ones: ${names}. --json writes the numbers to a file, --plot draws
calls a second of CPU time by calls at once, of the bench throughput, as SVG.`)

const { values } = parseArgs({
  options: { only: { type: "string", multiple: true }, json: { type: "string" }, plot: { type: "string" } }
})

const isChosen = (name: string): boolean => values.only?.includes(name) ?? true
const chosen = Object.entries(benches).filter(([name]) => isChosen(name))
if (chosen.length === 0 && !["first-call", "streams", "waiting", "inference"].some(isChosen)) {
  throw new RangeError(`--only takes one of ${names}`)
}

const run = async (name: string, bench: Bench, lanes: number | undefined): Promise<Outcome> => {
  const stops: Array<() => Promise<void>> = []
  try {
    const service = await startServer("bench/src/service.ts", { args: bench.burst === true ? ["burst"] : [] })
    stops.push(service.stop)
    const sides = await bench.sides(service, (stop) => stops.push(stop), lanes ?? concurrency)
    return outcome(name, bench, lanes, await measure(sides, bench.plan))
  } finally {
    for (const stop of stops.toReversed()) await stop()
  }
}

const where = circumstances()
console.log(showCircumstances(where))
const outcomes: Array<Outcome> = []
for (const [name, bench] of chosen) {
  for (const lanes of bench.lanes ?? [undefined]) {
    const result = await run(name, bench, lanes)
    outcomes.push(result)
    console.log(showOutcome(result))
  }
}
if (isChosen("first-call")) await firstCall.run()
if (isChosen("streams")) await streams.run()
if (isChosen("waiting")) await waiting.run()
if (isChosen("inference")) await inference.run()
if (values.json !== undefined) {
  Fs.writeFileSync(values.json, `${JSON.stringify({ circumstances: where, outcomes }, null, 2)}\n`)
}
if (values.plot !== undefined) Fs.writeFileSync(values.plot, plotThroughput(outcomes, showCircumstances(where)))
