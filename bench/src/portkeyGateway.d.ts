/** A program: it starts when it is loaded. */
declare module "@portkey-ai/gateway/build/start-server.js" {}
