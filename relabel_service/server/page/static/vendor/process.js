// annotorious.es.js asks for process.env.NODE_ENV as bundlers define it; a browser has no process.
globalThis.process ??= { env: { NODE_ENV: "production" } };
