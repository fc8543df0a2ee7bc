/** Loaded into a measured server (`node --import`): tells its parent, on any message, how much CPU time it has used. */
process.on("message", () => process.send?.(process.cpuUsage()))
process.channel?.unref()
