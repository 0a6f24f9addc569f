// The tabs at the first start: the five questions of README.md, for the current time, and the calls as they arrive.
export const EXAMPLES = [
  `# How many calls succeeded and failed? Run with Ctrl-Enter.
query Counts {
  usageStats {
    lastMinute { total failure }
    last24Hours { total success failure successRate }
    last(duration: "PT30S") { total failure }
  }
}
`,
  `# Which keys fail most? A key that keeps getting 403 is dead, one that gets 429 is throttled.
query FailingKeys {
  callGroups(by: [API_KEY, STATUS_CODE], period: LAST_24_HOURS, filter: { status: FAILURE }, first: 10) {
    apiKey { id masked }
    statusCode
    counts { total }
  }
}
`,
  `# What is the provider's message for a failed call?
query FailedCalls {
  callDetails(period: LAST_24_HOURS, filter: { status: FAILURE }, first: 10) {
    totalCount
    nodes { timestamp model statusCode latencyMs apiKey { masked } errorLog { errorType message } }
    pageInfo { hasNextPage endCursor }
  }
}
`,
  `# When did the failures start?
query Timeline {
  callSeries(period: LAST_24_HOURS, interval: "PT1H") {
    start
    end
    counts { total failure }
    latency { p50 p95 max }
  }
}
`,
  `# Which errors occur most?
query ErrorCodes {
  errorGroups(by: [ERROR_CODE], first: 10) {
    errorCode
    count
    firstSeenAt
    lastSeenAt
    latest { errorType model }
  }
}
`,
  `# Each failed call, as soon as it is recorded.
subscription Follow {
  callRecorded(filter: { status: FAILURE }) {
    timestamp
    model
    statusCode
    apiKey { masked }
    errorLog { errorType message }
  }
}
`,
];
