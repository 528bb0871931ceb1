import { markdown, writeMarked } from '../lab/marked.ts'
import { coldSections, coldSummary, footnotes, type Section, warmSections, warmSummary } from './report.ts'
import type { Run } from './run.ts'

/** Writes the tables of a run into the pages, between their markers: nobody types a figure. */
export function write(run: Run): void {
  const notes = `(${footnotes(run).join(' ')})`
  const part = (name: string, sections: readonly Section[], summary: readonly (readonly string[])[]) => {
    if (sections.length === 0) return
    const tables = sections.map(({ title, rows }) => `### ${title}\n\n${markdown(rows)}`)
    writeMarked('docs/performance.md', name, [...tables, notes].join('\n\n'))
    writeMarked('README.md', name, `${markdown(summary)}\n\n${notes}`)
  }
  part('first', coldSections(run), coldSummary(run))
  part('speed', warmSections(run), warmSummary(run))
}
