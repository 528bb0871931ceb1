const PROJECT = 'https://github.com/pslock/pslock'

/** Where the page leads to, if its reader wants to know more. It loads nothing from there. */
export const LINKS = {
  project: `${PROJECT}#readme`,
  reading: `${PROJECT}/blob/main/docs/stress-report.md`,
  performance: `${PROJECT}/blob/main/docs/performance.md`,
} as const
