/** What a run of a workflow does, for people: a line for each event, or on a terminal a table of its steps that is drawn again in place. */
import type { Event } from "@ballast/workflow/Run"
import * as Usage from "@ballast/workflow/Usage"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { plain } from "./table.ts"

const seconds = (millis: number): string => `${(millis / 1000).toFixed(1)} s`

/** Tokens and money; empty for nothing. */
const used = (usage: Usage.Usage | undefined): string =>
  usage === undefined ? "" : [
    ...Usage.tokens(usage) === 0 ? [] : [`${Usage.tokens(usage)} tokens`],
    ...Object.entries(usage.cost).map(([currency, amount]) => `${amount} ${currency}`),
    ...usage.unpriced === 0 ? [] : ["price not known"]
  ].join(", ")

const joined = (...parts: ReadonlyArray<string>): string => parts.filter((part) => part !== "").join(", ")

/** What happened, without what services got or gave. */
const lineOf = (event: Event): string => {
  const attempt = "attempt" in event && event.attempt > 1 ? `attempt ${event.attempt}` : ""
  switch (event._tag) {
    case "Started":
      return `… ${joined(event.step, attempt)}`
    case "Succeeded":
      return `✓ ${joined(event.step, attempt, seconds(event.millis), event.cached ? "cached" : "", used(event.usage))}`
    case "Failed":
      return `✗ ${joined(event.step, attempt, seconds(event.millis), used(event.usage))}: ${plain(event.reason)}`
    case "Skipped":
      return `- ${event.step}, skipped`
    case "Kept":
      return `= ${event.step}, kept`
    case "Waiting":
      return `? ${event.step}, waits for approval${event.question === "" ? "" : `: ${plain(event.question)}`}`
  }
}

/** What is known of a step. */
interface Row {
  readonly event: Event
  /** When its first attempt began, in milliseconds since 1970. */
  readonly began: number
  readonly usage: Usage.Usage
}

const spinner = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"

/** A line of the table: mark, step, attempt, time, tokens and cost. */
const rowOf = ({ began, event, usage }: Row, now: number): string => {
  if (event._tag !== "Started") return lineOf("millis" in event ? { ...event, usage } : event)
  const mark = spinner[Math.floor(now / 100) % spinner.length] ?? "…"
  const attempt = event.attempt > 1 ? `attempt ${event.attempt}` : ""
  return `${mark} ${joined(event.step, attempt, seconds(now - began), used(Usage.isNone(usage) ? undefined : usage))}`
}

export interface View {
  readonly tell: (event: Event) => Effect.Effect<void>
  /** Draws nothing meanwhile: something else writes on the terminal. */
  readonly aside: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
}

export interface Terminal {
  readonly write: (text: string) => void
  readonly isTTY: boolean
  readonly rows: number
  readonly columns: number
}

/** A line of the terminal's width. */
const fit = (line: string, columns: number): string => {
  const chars = Array.from(line)
  return chars.length < columns ? chars.join("") : `${chars.slice(0, Math.max(0, columns - 2)).join("")}…`
}

/** A view that is drawn as long as the scope lives. */
export const make = Effect.fnUntraced(function*(terminal: Terminal) {
  if (!terminal.isTTY) {
    const view: View = {
      tell: (event) => Effect.sync(() => terminal.write(`${lineOf(event)}\n`)),
      aside: (self) => self
    }
    return view
  }
  const rows = new Map<string, Row>()
  let total = Usage.none
  let drawn = 0
  let isAside = false
  const clear = () => terminal.write(drawn === 0 ? "" : `\x1b[${drawn}A\x1b[J`)
  const draw = (now: number): void => {
    if (isAside) return
    const lines = Array.from(rows.values(), (row) => rowOf(row, now))
    // The latest ones, when the terminal is too small for all.
    const shown = lines.slice(-Math.max(1, terminal.rows - 2))
    const sum = used(Usage.isNone(total) ? undefined : total)
    const all = [...shown, ...sum === "" ? [] : [`  in all: ${sum}`]]
    clear()
    terminal.write(all.map((line) => `${fit(line, terminal.columns)}\n`).join(""))
    drawn = all.length
  }
  const redraw = Effect.map(Clock.currentTimeMillis, draw)
  yield* Effect.addFinalizer(() => redraw)
  yield* Effect.forkScoped(Effect.forever(Effect.andThen(Effect.sleep("200 millis"), redraw)))
  const view: View = {
    tell: (event) =>
      Effect.map(Clock.currentTimeMillis, (now) => {
        const before = rows.get(event.step)
        const usage = "usage" in event && event.usage !== undefined ? event.usage : Usage.none
        total = Usage.add(total, usage)
        rows.set(event.step, {
          event,
          began: before?.began ?? now,
          usage: Usage.add(before?.usage ?? Usage.none, usage)
        })
        draw(now)
      }),
    aside: (self) =>
      Effect.sync(() => {
        isAside = true
        drawn = 0
      }).pipe(
        Effect.andThen(self),
        Effect.ensuring(Effect.sync(() => isAside = false))
      )
  }
  return view
})
