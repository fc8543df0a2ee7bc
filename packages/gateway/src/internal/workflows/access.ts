/** Who may see a run, and decide on its approvals. */
import type * as Runs from "@ballast/workflow/Runs"
import type { Caller } from "./model.ts"

export const maySee = (caller: Caller, run: Runs.Run, shared: boolean): boolean =>
  caller.isAdmin === true || shared || run.client === caller.name ||
  run.steps.some(({ who }) => who !== undefined && who.includes(caller.name))

export const mayDecide = ({ isAdmin, name }: Caller, who: ReadonlyArray<string> | undefined): boolean =>
  who === undefined || isAdmin === true || who.includes(name)

/** Whose runs a list shows; undefined for all. */
export const listed = (caller: Caller, shared: boolean): string | undefined =>
  caller.isAdmin === true || shared ? undefined : caller.name
