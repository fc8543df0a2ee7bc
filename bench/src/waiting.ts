/** Runs of workflows that wait for a person, kept in memory, in SQLite and in Postgres; each in a process of its own, see `waitingRuns.ts`. */
import { spawn } from "node:child_process"
import { once } from "node:events"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import { schema } from "./postgres.ts"

const program = fileURLToPath(new URL("./waitingRuns.ts", import.meta.url))

/** Measures and prints as it goes. */
export const run = async (count = 10_000): Promise<void> => {
  const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "bench-waiting-"))
  const { drop, url } = await schema("waiting")
  const sides = { memory: "", SQLite: Path.join(folder, "runs.db"), Postgres: url }
  for (const side of Object.entries(sides)) {
    const child = spawn(process.execPath, ["--expose-gc", program, ...side, String(count)], { stdio: "inherit" })
    const [code] = await once(child, "exit")
    if (code !== 0) throw new Error(`runs that wait in ${side[0]} could not be measured`)
  }
  Fs.rmSync(folder, { recursive: true, force: true })
  await drop()
}
