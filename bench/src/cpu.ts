/** Loaded into a measured server (`node --import`): tells its parent, on any message, what it has used. */
process.on("message", () => process.send?.({ ...process.cpuUsage(), rss: process.memoryUsage.rss() }))
process.channel?.unref()
