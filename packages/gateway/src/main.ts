#!/usr/bin/env node
import { enableCompileCache } from "node:module"

// Before anything else is loaded: from the second start on, the program starts in about half the time.
enableCompileCache()

const [Cli, Signals] = await Promise.all([import("./Cli.ts"), import("./Signals.ts")])

Signals.runMain(Cli.main, { disableErrorReporting: true, teardown: Signals.teardown })
