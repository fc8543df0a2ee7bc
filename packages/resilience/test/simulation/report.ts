/** The results of the scenarios as a document whose every digit is the same on every machine. */
import { Priority } from "@ballast/resilience"
import type * as Clients from "./Clients.ts"

export interface Row {
  readonly name: string
  readonly result: Clients.Result
}

export interface Section {
  readonly name: string
  readonly about: string
  readonly findings: ReadonlyArray<string>
  readonly rows: ReadonlyArray<Row>
}

/** Parts of the time whose success is told one by one. */
const stretches = 10

const share = (part: number, of: number) => of === 0 ? "–" : `${(100 * part / of).toFixed(1)} %`

const ended = (calls: ReadonlyArray<Clients.Call>) => calls.filter((call) => call.error === undefined)

/** Of the calls, those that were answered, from 0 to 1. */
export const success = ({ calls }: Clients.Result): number => ended(calls).length / calls.length

/** The milliseconds within which such a share of the calls had ended, well or not. */
export const quantile = ({ calls }: Clients.Result, q: number): number => {
  const sorted = calls.map((call) => call.millis).sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? 0
}

/** Success in each stretch of the time in which calls began, in whole percent. */
export const overTime = ({ calls }: Clients.Result): ReadonlyArray<number> => {
  const last = Math.max(...calls.map((call) => call.at))
  return Array.from({ length: stretches }, (_, index) => {
    const begun = calls.filter(({ at }) => Math.min(stretches - 1, Math.floor(at * stretches / last)) === index)
    return begun.length === 0 ? 0 : Math.floor(100 * ended(begun).length / begun.length)
  })
}

/** How the calls ended that were not answered, the most frequent first. */
const errors = ({ calls }: Clients.Result): string => {
  const counts = new Map<string, number>()
  for (const { error } of calls) {
    if (error !== undefined) counts.set(error, (counts.get(error) ?? 0) + 1)
  }
  return Array.from(counts).sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1)).map(([error, n]) => `${error} ${n}`)
    .join(", ")
}

/** Success of each priority that there is, the highest first. */
const byPriority = ({ calls }: Clients.Result): string =>
  Priority.all.flatMap((priority) => {
    const these = calls.filter(({ request }) => request.priority === priority)
    return these.length === 0 ? [] : [`${priority} ${share(ended(these).length, these.length)}`]
  }).join(", ")

const row = ({ name, result }: Row): ReadonlyArray<string> => {
  const { calls, seen } = result
  return [
    name,
    share(ended(calls).length, calls.length),
    `${quantile(result, 0.5)} ms`,
    `${quantile(result, 0.99)} ms`,
    String(seen.requests),
    (seen.requests / calls.length).toFixed(2),
    String(seen.peak),
    share(seen.requests - seen.answered, seen.requests),
    overTime(result).join(" "),
    byPriority(result),
    errors(result)
  ]
}

const columns = [
  "policies",
  "success",
  "half of the calls within",
  "99 % within",
  "requests",
  "per call",
  "most in a second",
  "wasted",
  "success over time, %",
  "by priority",
  "errors"
]

const line = (cells: ReadonlyArray<string>) => `| ${cells.join(" | ")} |`

const section = ({ about, findings, name, rows }: Section): string =>
  [
    `## ${name}`,
    "",
    about,
    "",
    ...findings.map((finding) => `- ${finding}`),
    "",
    line(columns),
    line(columns.map(() => "---")),
    ...rows.map((one) => line(row(one))),
    ""
  ].join("\n")

const head = `# Simulation

What policies do for clients of a service in trouble: ten scenarios, each with the same calls through different policies. Clients, policies and service run
under virtual time with seeded chance, so every run gives these very numbers. The policies are the real ones; the clients and the service are models
(\`packages/resilience/test/simulation\`). A test runs all of it and compares, so that a change of a policy shows as a change of this page. To accept one:

\`\`\`sh
npm run simulate
\`\`\`

A *call* is what a client wants, a *request* is what reaches the service. A request is *wasted* when its answer reached nobody: it failed, was turned away, or its
caller had given up. An answer of a fallback counts as one. Times are those of all calls, answered or not. *Success over time* is that of the calls that began in each tenth of the time.
Each client has policies of its own, as processes do. The service works off what it has accepted, also for callers that are gone.
`

export const render = (sections: ReadonlyArray<Section>): string => [head, ...sections.map(section)].join("\n")
