/**
 * The metrics of several processes as one page, in Prometheus' text or OpenMetrics: counters and histograms are summed; gauges are summed where the table of
 * metrics says so, and have the label `worker` otherwise, as summaries have.
 */
import * as MetricNames from "@ballast/telemetry/MetricNames"

/** The metrics of one name. */
interface Family {
  help: string | undefined
  type: string
  /** By name and labels, as they are written. */
  readonly samples: Map<string, Sample>
}

interface Sample {
  readonly value: number
  /** Of OpenMetrics, as it is written; empty where there is none. */
  readonly exemplar: string
}

export type Families = Map<string, Family>

export interface Page {
  readonly worker: number
  readonly text: string
}

const valueOf = (text: string): number => text === "+Inf" ? Infinity : text === "-Inf" ? -Infinity : Number(text)

const format = (value: number): string => value === Infinity ? "+Inf" : value === -Infinity ? "-Inf" : String(value)

const isSummed = (name: string, type: string): boolean =>
  type === "counter" || type === "histogram" || type === "gauge" && MetricNames.rowOf(name).summed === true

const labelled = (series: string, worker: number): string =>
  series.endsWith("}") ? `${series.slice(0, -1)},worker="${worker}"}` : `${series}{worker="${worker}"}`

const exemplarAtEnd = / # \{trace_id="[^"]*"\} [-+\d.e]+(?: [-+\d.e]+)?$/i

/** Adds a page's samples to families. */
const add = (families: Families, { text, worker }: Page): void => {
  const familyOf = (name: string): Family => {
    const family = families.get(name) ?? { help: undefined, type: "unknown", samples: new Map() }
    families.set(name, family)
    return family
  }
  let family: Family | undefined
  let name = ""
  for (const line of text.split("\n")) {
    if (line === "") continue
    const [, head, named = "", type = ""] = line.startsWith("# ") ? line.split(" ", 4) : []
    if (head === "HELP") {
      familyOf(named).help = line
    } else if (head === "TYPE") {
      name = named
      family = familyOf(name)
      family.type = type
    } else if (family !== undefined && !line.startsWith("#")) {
      const exemplar = exemplarAtEnd.exec(line)?.[0] ?? ""
      const sample = exemplar === "" ? line : line.slice(0, -exemplar.length)
      // A label may have spaces in it, a value has none.
      const end = sample.lastIndexOf(" ")
      const summed = isSummed(name, family.type)
      const series = summed ? sample.slice(0, end) : labelled(sample.slice(0, end), worker)
      const before = summed ? family.samples.get(series) : undefined
      family.samples.set(series, {
        value: (before?.value ?? 0) + valueOf(sample.slice(end + 1)),
        exemplar: exemplar === "" ? before?.exemplar ?? "" : exemplar
      })
    }
  }
}

/** What a page of OpenMetrics ends with. */
const end = "# EOF"

const print = (families: Families, isOpen: boolean): string => {
  const lines: Array<string> = []
  for (const [name, { help, samples, type }] of families) {
    if (help !== undefined) lines.push(help)
    lines.push(`# TYPE ${name} ${type}`)
    for (const [series, { exemplar, value }] of samples) lines.push(`${series} ${format(value)}${exemplar}`)
  }
  if (isOpen) lines.push(end)
  return lines.length === 0 ? "" : `${lines.join("\n")}\n`
}

/**
 * Merges pages as long as the gateway lives. What a worker counted stays in the sums when it is gone, as far as a page told it: a sum that
 * fell would be taken for a restart of the whole.
 */
export const make = () => {
  const last = new Map<number, string>()
  const gone: Families = new Map()

  return {
    /** Pages of the workers that answered; the last known page counts for one that did not. */
    merge: (pages: ReadonlyArray<Page>): string => {
      for (const { text, worker } of pages) last.set(worker, text)
      const families: Families = new Map(
        Array.from(gone, ([name, family]) => [name, { ...family, samples: new Map(family.samples) }])
      )
      for (const [worker, text] of last) add(families, { worker, text })
      return print(families, Array.from(last.values()).some((text) => text.endsWith(`${end}\n`)))
    },
    /** A worker has ended. */
    remove: (worker: number): void => {
      const text = last.get(worker)
      if (text === undefined) return
      last.delete(worker)
      add(gone, { worker, text })
      for (const [name, { type }] of gone) {
        if (type !== "counter" && type !== "histogram") gone.delete(name)
      }
    }
  }
}
