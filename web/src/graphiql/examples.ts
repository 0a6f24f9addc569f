// What the tabs hold at the first start: the five questions of README.md, asked of now.
export const EXAMPLES = [
  `# How many calls, how many failed? Run it with Ctrl-Enter.
query HowMany {
  usageStats {
    lastMinute { total failure }
    last24Hours { total success failure successRate }
    last(duration: "PT30S") { total failure }
  }
}
`,
  `# Which key fails most, and how? One that gets 403 again and again is dead, one that gets 429 is throttled.
query WhichKey {
  callGroups(by: [API_KEY, STATUS_CODE], period: LAST_24_HOURS, filter: { status: FAILURE }, first: 10) {
    apiKey { id masked }
    statusCode
    counts { total }
  }
}
`,
  `# What did the provider say about a failed call?
query WhatWasSaid {
  callDetails(period: LAST_24_HOURS, filter: { status: FAILURE }, first: 10) {
    totalCount
    nodes { timestamp model statusCode latencyMs apiKey { masked } errorLog { errorType message } }
    pageInfo { hasNextPage endCursor }
  }
}
`,
  `# When did it begin?
query WhenDidItBegin {
  callSeries(period: LAST_24_HOURS, interval: "PT1H") {
    start
    end
    counts { total failure }
    latency { p50 p95 max }
  }
}
`,
  `# Which errors are there at all?
query WhichErrors {
  errorGroups(by: [ERROR_CODE], first: 10) {
    errorCode
    count
    firstSeenAt
    lastSeenAt
    latest { errorType model }
  }
}
`,
];
