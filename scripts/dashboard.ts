/**
 * Draws the panels of `ops/grafana/dashboard.json` from what its queries return: `node scripts/dashboard.ts <Prometheus> <file.svg>`. It is a picture
 * of the data, not of Grafana.
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import { showHelp } from "./help.ts"

showHelp(`node scripts/dashboard.ts <Prometheus> <file.svg> [minutes]

Asks a Prometheus that runs (http://127.0.0.1:9090) the queries of ops/grafana/dashboard.json for the last minutes (5), and draws an SVG.`)

interface Panel {
  readonly title: string
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number }
  readonly fieldConfig: { readonly defaults: { readonly unit: string } }
  readonly targets: ReadonlyArray<{ readonly expr: string; readonly legendFormat: string }>
}

interface Line {
  readonly name: string
  readonly points: ReadonlyArray<readonly [time: number, value: number]>
}

const [prometheus = "", file = "", minutes = "5"] = process.argv.slice(2)
const end = Math.floor(Date.now() / 1000)
const start = end - Number(minutes) * 60
const dashboard = Path.resolve(import.meta.dirname, "../ops/grafana/dashboard.json")

const linesOf = async ({ expr, legendFormat }: Panel["targets"][number]): Promise<ReadonlyArray<Line>> => {
  const query = new URLSearchParams({
    query: expr.replaceAll("$__rate_interval", "30s"),
    start: `${start}`,
    end: `${end}`,
    step: "5"
  })
  const response = await fetch(`${prometheus}/api/v1/query_range?${query}`)
  const { data } = await response.json() as {
    readonly data: {
      readonly result: ReadonlyArray<{
        readonly metric: Readonly<Record<string, string>>
        readonly values: ReadonlyArray<readonly [number, string]>
      }>
    }
  }
  return data.result.map(({ metric, values }) => ({
    name: legendFormat.replace(/\{\{(\w+)\}\}/g, (_, label: string) => metric[label] ?? ""),
    points: values.map(([time, value]) => [time, Number(value)] as const).filter(([, value]) => Number.isFinite(value))
  }))
}

const colours = ["#3d71d9", "#e0752d", "#3a9d5d", "#c4403b", "#8a5fc7", "#a38b00", "#2a9fb0", "#77777f"]
const column = 30
const row = 26

const escape = (text: string): string =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll("\"", "&quot;")

const valueOf = (value: number, unit: string): string => {
  if (unit === "bytes") return `${Math.round(value / 1_048_576)} MiB`
  if (unit === "percentunit") return `${Math.round(value * 100)} %`
  const text = value >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(2)))
  return unit === "s" ? `${text} s` : text
}

const draw = ({ fieldConfig, gridPos, title }: Panel, lines: ReadonlyArray<Line>): string => {
  const [width, height] = [gridPos.w * column - 12, gridPos.h * row - 12]
  const [left, top, right, bottom] = [62, 30, width - 12, height - 42]
  const highest = Math.max(...lines.flatMap(({ points }) => points.map(([, value]) => value)), 0) * 1.05 || 1
  const x = (time: number) => left + (right - left) * (time - start) / (end - start)
  const y = (value: number) => bottom - (bottom - top) * value / highest
  const grid = [0, 0.5, 1].map((share) =>
    `<line x1="${left}" x2="${right}" y1="${y(share * highest)}" y2="${y(share * highest)}" stroke="#ddd"/><text x="${
      left - 6
    }" y="${y(share * highest) + 4}" text-anchor="end">${valueOf(share * highest, fieldConfig.defaults.unit)}</text>`
  )
  const curves = lines.map(({ points }, index) =>
    `<polyline fill="none" stroke-width="1.6" stroke="${colours[index % colours.length]}" points="${
      points.map(([time, value]) => `${x(time).toFixed(1)},${y(value).toFixed(1)}`).join(" ")
    }"/>`
  )
  // About so many characters fit below the curves.
  const fitting = lines.filter((_, index) =>
    lines.slice(0, index + 1).reduce((sum, { name }) => sum + name.length + 4, 0) < (right - left) / 5.2
  )
  const legend = fitting.map(({ name }, index) =>
    `<tspan fill="${colours[index % colours.length]}">■ </tspan><tspan>${escape(name)}  </tspan>`
  )
  if (fitting.length < lines.length) legend.push(`<tspan>and ${lines.length - fitting.length} more</tspan>`)
  return [
    `<g transform="translate(${gridPos.x * column + 6},${gridPos.y * row + 46})">`,
    `<rect width="${width}" height="${height}" fill="#fff" stroke="#ccc" rx="3"/>`,
    `<text x="10" y="19" font-weight="600">${escape(title)}</text>`,
    ...grid,
    ...curves,
    lines.length === 0 ? `<text x="${width / 2}" y="${height / 2}" text-anchor="middle">no data</text>` : "",
    `<text x="${left}" y="${height - 10}" xml:space="preserve">${legend.join("")}</text>`,
    "</g>"
  ].join("\n")
}

const { panels } = JSON.parse(Fs.readFileSync(dashboard, "utf8")) as { readonly panels: ReadonlyArray<Panel> }
const drawn = await Promise.all(
  panels.map(async (panel) => draw(panel, (await Promise.all(panel.targets.map(linesOf))).flat()))
)
const size = {
  width: Math.max(...panels.map(({ gridPos }) => gridPos.x + gridPos.w)) * column,
  height: Math.max(...panels.map(({ gridPos }) => gridPos.y + gridPos.h)) * row + 52
}
Fs.writeFileSync(
  file,
  `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${size.width} ${size.height}" font-family="sans-serif" font-size="11" fill="#333">
<rect width="100%" height="100%" fill="#f4f4f5"/>
<text x="8" y="18">Drawn from the queries of ops/grafana/dashboard.json: not a picture of Grafana.</text>
<text x="8" y="34">${minutes} minutes of a gateway under load, with its simulator; in the middle the service fails for a minute.</text>
${drawn.join("\n")}
</svg>
`
)
