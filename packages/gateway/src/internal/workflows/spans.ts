/** The spans of the runs that this process started: below that of the request, until the run has ended. */
import type * as Runs from "@ballast/workflow/Runs"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Tracer from "effect/Tracer"

/** What the span of a run tells of its end. */
interface Ended {
  readonly status: Runs.Status
  readonly reason?: string
}

export const begin = ({ client, id, workflow }: Runs.NewRun) =>
  Effect.makeSpan(`workflow ${workflow}`, {
    attributes: { "ballast.workflow.name": workflow, "ballast.workflow.run": id, "ballast.client": client }
  })

/** The spans that have not ended; those that are left end with the scope, while their runs go on with the next start. */
export const make = Effect.gen(function*() {
  const spans = new Map<string, Tracer.Span>()
  const end = (run: string, { reason, status }: Ended, at: bigint) => {
    const span = spans.get(run)
    spans.delete(run)
    span?.attribute("ballast.workflow.status", status)
    span?.end(at, status === "failed" ? Exit.fail(reason) : Exit.void)
  }
  yield* Effect.addFinalizer(() =>
    Effect.map(Clock.currentTimeNanos, (now) => spans.forEach((span) => span.end(now, Exit.void)))
  )
  /** Ends those of runs that ended in another process. */
  const endElsewhere = Effect.fnUntraced(function*(runs: Runs.Runs) {
    if (spans.size === 0) return
    const live = new Set(yield* runs.live)
    for (const id of [...spans.keys()].filter((id) => !live.has(id))) {
      const run = yield* runs.find(id)
      if (run?.endedAt === undefined) continue
      end(id, { status: run.status, ...run.error && { reason: run.error.reason } }, BigInt(run.endedAt) * 1_000_000n)
    }
  })
  return { keep: (run: string, span: Tracer.Span) => void spans.set(run, span), end, endElsewhere }
})

export type Spans = Effect.Success<typeof make>
