/**
 * pslock beside what people would use instead, all in one run, in rounds, one after the other in each: absolute times mean
 * nothing on a shared machine. What is measured how: docs/performance.md.
 */
import pc from 'picocolors'
import { table } from '../cli/base/table.ts'
import { Lab, reasonOf, say } from './lab/lab.ts'
import { circumstances } from './lab/marked.ts'
import { Member } from './speed/crew.ts'
import { measureGroup, type Outcome } from './speed/group.ts'
import { speedOptions } from './speed/options.ts'
import { envOf, PEERS, type PeerName } from './speed/peers.ts'
import { type Group, plan, windowMs } from './speed/plan.ts'
import { progress } from './speed/progress.ts'
import { coldSections, footnotes, groupTitle, warmSections } from './speed/report.ts'
import { isVoid, type Run } from './speed/run.ts'
import { measureSolo, SOLOS, type SoloName, type Solos } from './speed/solos.ts'
import { write } from './speed/write.ts'

const ROUNDS = 5
const QUICK_ROUNDS = 1
const COLD_ROUNDS = 3

const options = speedOptions()
const { seed, quick, cold } = options
const rounds = options.rounds ?? (quick ? QUICK_ROUNDS : cold ? COLD_ROUNDS : ROUNDS)
const machine = circumstances()
const lab = new Lab()
const leftOut: string[] = []

/** The groups without the peers that cannot be had here. */
async function available(groups: readonly Group[]): Promise<Group[]> {
  const missing = new Set<PeerName>()
  for (const peer of new Set(groups.flatMap(({ peers }) => peers))) {
    const member = new Member(seed, 0, envOf(peer))
    await member.call('load', peer).catch((error) => {
      missing.add(peer)
      leftOut.push(`${PEERS[peer].title} (${reasonOf(error)})`)
    })
    await member.end('disconnect')
  }
  return groups
    .map((group) => ({ ...group, peers: group.peers.filter((peer) => !missing.has(peer)) }))
    .filter(({ peers }) => peers.length > 0)
}

async function measureAll(): Promise<Run> {
  const groups = await available(plan(options).filter(({ first }) => first || !cold))
  for (const what of leftOut) say(`left out: ${what}`)
  const solos = (Object.keys(SOLOS) as SoloName[]).filter(
    (name) => options.only?.includes(name) ?? !(quick || cold),
  )
  const firstOf = ({ peers, first }: Group) => peers.filter((peer) => first?.peers.includes(peer))
  const cells = groups.reduce(
    (all, group) => all + firstOf(group).length + (cold ? 0 : group.peers.length),
    0,
  )
  const shown = progress((cells + solos.length) * rounds)
  const measured: { group: Group; outcomes: Outcome[] }[] = []
  for (const group of groups) {
    const outcomes = await measureGroup(lab, group, {
      rounds,
      seed,
      isCold: cold,
      forMs: (peer) => options.seconds ?? windowMs(group, peer, quick),
      onCell: (peer) => shown.next(`${groupTitle(group)}: ${PEERS[peer].title}`),
    })
    measured.push({ group, outcomes })
  }
  const figures: Solos = {}
  for (const name of solos) {
    const result = await measureSolo(name, lab, { rounds, seed, onRound: () => shown.next(SOLOS[name]) })
    if ('solos' in result) Object.assign(figures, result.solos)
    else leftOut.push(`${SOLOS[name]} (${result.leftOut})`)
  }
  shown.stop()
  const kind = quick ? ' with `--quick` (hardly warmed up: for a look, not against the targets)' : ''
  const how = `\`npm run bench${cold ? ' -- --cold' : ''}\`${kind}, rounds: ${rounds}, seed ${seed}; every count checked; ${machine}`
  const isWhole = !quick && !options.only && !options.peers && !options.processes && !options.records
  return { how, isWhole, isCold: cold, groups: measured, solos: figures, leftOut }
}

const run = await measureAll()
if (options.json) console.log(JSON.stringify(run, null, 2))
else {
  for (const { title, rows } of [...coldSections(run), ...warmSections(run)]) {
    console.log(`${pc.bold(title)}\n${table(rows, { right: [1, 2, 3] })}\n`)
  }
  console.log(footnotes(run).join('\n'))
}
if (isVoid(run)) process.exitCode = 1
else if (options.write) write(run)
