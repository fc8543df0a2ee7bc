/** Who decides on the approvals that the runs wait for. */
import type { Run } from "@ballast/workflow"
import { NodeServices } from "@effect/platform-node"
import { Console, Effect } from "effect"
import { Prompt } from "effect/cli"

/** What a policy decides without asking. */
export type Policy = "approve" | "reject"

export type Waiting = Extract<Run.Event, { readonly _tag: "Waiting" }>

const byPolicy = (question: string, approved: boolean, comment: string) =>
  Effect.as(
    Console.log(`${question} ${approved ? "Approved" : "Rejected"} by policy: ${comment}.`),
    { approved, by: "policy", comment }
  )

const ask = (message: string) =>
  Prompt.run(Prompt.Confirm({ message })).pipe(
    Effect.map((approved): Run.Decision => ({ approved, by: "the person at the terminal" })),
    Effect.orElseSucceed((): Run.Decision => ({ approved: false, comment: "the question was left" })),
    Effect.provide(NodeServices.layer)
  )

/** A person on the terminal decides. Where there is none, it is rejected; where a policy is given, that decides. */
export const decide = (policy: Policy | undefined) => ({ question, run }: Waiting): Effect.Effect<Run.Decision> => {
  const asked = `${run}: ${question}`
  if (policy !== undefined) return byPolicy(asked, policy === "approve", `--${policy} was given`)
  return process.stdin.isTTY ? ask(asked) : byPolicy(asked, false, "there is no terminal to ask a person")
}
