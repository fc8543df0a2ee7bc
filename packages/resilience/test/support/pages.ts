import * as Fs from "node:fs"
import * as Path from "node:path"

const folder = Path.resolve(import.meta.dirname, "../../../../docs/resilience")

/** Pages that are about several policies and none of them. */
const overviews = ["benchmarks.md", "choosing.md", "composition.md", "simulation.md"]

export const pages = Fs.readdirSync(folder).filter((file) => !overviews.includes(file))

export const read = (file: string) => Fs.readFileSync(Path.join(folder, file), "utf8")

/** The text of each section by its heading; what stands before the first is under "". */
export const sectionsOf = (page: string): ReadonlyMap<string, string> =>
  new Map(
    page.split(/^## /m).map((section, index) => {
      const [heading = "", ...rest] = section.split("\n")
      return index === 0 ? ["", section] : [heading, rest.join("\n")]
    })
  )
