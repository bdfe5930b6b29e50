package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"
)

// The format, version 1. Integers are big-endian. CRC is CRC-32C (Castagnoli).
//
// # Files of a journal directory (mode 0700)
//
//	NNNNNNNNNNNNNNNNNNNN.seg   a segment; its number in 20 decimal digits, so that
//	                           the order of the names is the order of the records
//	spare-NNNN….free           a pre-written or recycled file that waits to become a segment
//	NNNNNNNNNNNNNNNNNNNN.damage  beside a segment: it is quarantined; one line of text for each
//	                           damage, its offset in decimal, a space, the reason
//	spare-NNNN….tmp            being made; removed by the next Open
//
// All files have mode 0600. A segment gets its name by rename, after its header was
// synced, and the directory is synced before the segment's first frame is acknowledged.
//
// # Segment
//
//	offset   bytes   content
//	0        4096    header block
//	4096     4096    the same header again, for when the first is damaged
//	8192     4096    seal block; zero until the segment is sealed
//	12288    …       frames, one directly after the other; after the last one zeros,
//	                 nothing, or what an earlier use of the file left there
//
// # Header block (the rest of the block is zero)
//
//	offset   bytes   content
//	0        8       "mcjourn\n"
//	8        4       format version, 1
//	12       4       zero
//	16       8       segment number
//	24       8       generation: random, not zero, new for every use of the file
//	32       8       time of creation, nanoseconds since 1970 UTC
//	40       8       number of the segment before this one, 0 for the first
//	48       8       its generation
//	56       8       its end: the offset after its last good commit frame
//	64       4       CRC of bytes 0 to 63
//
// # Seal block (the rest of the block is zero)
//
//	offset   bytes   content
//	0        8       "mcjseal\n"
//	8        8       segment number
//	16       8       generation
//	24       8       end: the offset after the last commit frame
//	32       4       CRC of bytes 0 to 31
//
// # Frame
//
//	offset   bytes   content
//	0        4       payload length in bytes
//	4        1       type: 1 to 0xEF the caller's, 0xFE commit; 0 is never valid
//	5        1       flags: 1 staged, 2 last record of its Append
//	6        2       zero
//	8        4       CRC of generation and payload
//	12       4       CRC of generation, frame offset (8 bytes) and bytes 0 to 11
//	16       length  payload
//
// # Commit frame: type 0xFE, flags 0, payload of 32 bytes
//
//	offset   bytes   content
//	0        8       generation
//	8        8       start of the group: the offset after the previous commit frame, or 12288
//	16       4       number of frames in the group, staged ones included, this one not
//	20       4       CRC of generation and the header CRC (bytes 12 to 15) of each of those frames
//	24       8       time, nanoseconds since 1970 UTC
//
// "CRC of generation and x" is the CRC of the 8 bytes of the generation followed by x.
// A group without frames is a mark: it proves what is before it.
const (
	formatVersion    = 1
	blockSize        = 4096
	headerOffset     = 0
	headerCopyOffset = blockSize
	sealOffset       = 2 * blockSize
	firstFrame       = 3 * blockSize

	headerBytes = 68
	sealBytes   = 36

	frameHeaderSize   = 16
	commitPayloadSize = 32
	commitFrameSize   = frameHeaderSize + commitPayloadSize

	typeCommit = 0xFE

	flagStaged = 1
	flagLast   = 2

	headerMagic = "mcjourn\n"
	sealMagic   = "mcjseal\n"

	// maxPayload keeps lengths within the frame's 32 bits and sums within int64.
	maxPayload = 1<<31 - 1
)

// MaxType is the largest record type a caller may use; those above are the journal's own.
const MaxType = 0xEF

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// seedOf returns the checksum state after the generation, from which all
// checksums of a segment's frames go on.
func seedOf(generation uint64) uint32 {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], generation)
	return crc32.Update(0, castagnoli, b[:])
}

// header is the content of a header block.
type header struct {
	number, generation uint64
	created            time.Time
	prevNumber         uint64
	prevGeneration     uint64
	prevEnd            int64
}

// encode returns the three blocks before the first frame: header, copy, empty seal.
func (h header) encode() []byte {
	b := make([]byte, firstFrame)
	copy(b, headerMagic)
	binary.BigEndian.PutUint32(b[8:], formatVersion)
	binary.BigEndian.PutUint64(b[16:], h.number)
	binary.BigEndian.PutUint64(b[24:], h.generation)
	binary.BigEndian.PutUint64(b[32:], uint64(h.created.UnixNano()))
	binary.BigEndian.PutUint64(b[40:], h.prevNumber)
	binary.BigEndian.PutUint64(b[48:], h.prevGeneration)
	binary.BigEndian.PutUint64(b[56:], uint64(h.prevEnd))
	binary.BigEndian.PutUint32(b[64:], crc32.Checksum(b[:64], castagnoli))
	copy(b[headerCopyOffset:], b[:headerBytes])
	return b
}

// errVersion refuses a format that this program does not know. It is never
// taken for damage: an older program must not quarantine a newer journal.
var errVersion = errors.New("unknown format version")

// decodeHeader parses a header block; the error says which check failed.
func decodeHeader(b []byte) (header, error) {
	if len(b) < headerBytes || !bytes.Equal(b[:8], []byte(headerMagic)) {
		return header{}, fmt.Errorf("header without magic")
	}
	if binary.BigEndian.Uint32(b[64:]) != crc32.Checksum(b[:64], castagnoli) {
		return header{}, fmt.Errorf("header checksum")
	}
	if v := binary.BigEndian.Uint32(b[8:]); v != formatVersion {
		return header{}, fmt.Errorf("%w %d", errVersion, v)
	}
	h := header{
		number:         binary.BigEndian.Uint64(b[16:]),
		generation:     binary.BigEndian.Uint64(b[24:]),
		created:        time.Unix(0, int64(binary.BigEndian.Uint64(b[32:]))).UTC(),
		prevNumber:     binary.BigEndian.Uint64(b[40:]),
		prevGeneration: binary.BigEndian.Uint64(b[48:]),
		prevEnd:        int64(binary.BigEndian.Uint64(b[56:])),
	}
	if h.prevNumber != 0 && h.prevEnd < firstFrame {
		return header{}, fmt.Errorf("header with an impossible end of the previous segment")
	}
	return h, nil
}

// seal is the content of a seal block.
type seal struct {
	number, generation uint64
	end                int64
}

func (s seal) encode() []byte {
	b := make([]byte, blockSize)
	copy(b, sealMagic)
	binary.BigEndian.PutUint64(b[8:], s.number)
	binary.BigEndian.PutUint64(b[16:], s.generation)
	binary.BigEndian.PutUint64(b[24:], uint64(s.end))
	binary.BigEndian.PutUint32(b[32:], crc32.Checksum(b[:32], castagnoli))
	return b
}

// decodeSeal parses a seal block. blank is set for a block of zeros.
func decodeSeal(b []byte) (s seal, blank bool, err error) {
	if len(bytes.TrimLeft(b, "\x00")) == 0 {
		return seal{}, true, nil
	}
	if len(b) < sealBytes || !bytes.Equal(b[:8], []byte(sealMagic)) {
		return seal{}, false, fmt.Errorf("seal without magic")
	}
	if binary.BigEndian.Uint32(b[32:]) != crc32.Checksum(b[:32], castagnoli) {
		return seal{}, false, fmt.Errorf("seal checksum")
	}
	s = seal{
		number:     binary.BigEndian.Uint64(b[8:]),
		generation: binary.BigEndian.Uint64(b[16:]),
		end:        int64(binary.BigEndian.Uint64(b[24:])),
	}
	if s.end < firstFrame {
		return seal{}, false, fmt.Errorf("seal with an impossible end")
	}
	return s, false, nil
}

// frame is a parsed frame header and where it lies.
type frame struct {
	off        int64
	length     int64
	typ, flags byte
	payloadCRC uint32
	headerCRC  uint32
}

func (f frame) payloadOff() int64 { return f.off + frameHeaderSize }
func (f frame) end() int64        { return f.off + frameHeaderSize + f.length }
func (f frame) isCommit() bool    { return f.typ == typeCommit }
func (f frame) isStaged() bool    { return f.flags&flagStaged != 0 }

// putFrameHeader fills b with the header of a frame at offset off and returns its checksum.
func putFrameHeader(b []byte, seed uint32, off, length int64, typ, flags byte, payloadCRC uint32) uint32 {
	binary.BigEndian.PutUint32(b[0:], uint32(length))
	b[4], b[5], b[6], b[7] = typ, flags, 0, 0
	binary.BigEndian.PutUint32(b[8:], payloadCRC)
	sum := frameHeaderCRC(seed, off, b[:12])
	binary.BigEndian.PutUint32(b[12:], sum)
	return sum
}

func frameHeaderCRC(seed uint32, off int64, b []byte) uint32 {
	return crc32.Update(updateUint(seed, uint64(off), 8), castagnoli, b)
}

// updateUint is crc32.Update for the last n bytes of a number, big-endian, which
// would have to be on the heap for that.
func updateUint(sum uint32, v uint64, n int) uint32 {
	sum = ^sum
	for n--; n >= 0; n-- {
		sum = castagnoli[byte(sum)^byte(v>>(8*n))] ^ sum>>8
	}
	return ^sum
}

// parseFrame reads the header of a frame at offset off that must end at or
// before limit. The reason is empty when the header is good.
func parseFrame(b []byte, seed uint32, off, limit int64) (f frame, reason string) {
	f = frame{
		off:        off,
		length:     int64(binary.BigEndian.Uint32(b[0:])),
		typ:        b[4],
		flags:      b[5],
		payloadCRC: binary.BigEndian.Uint32(b[8:]),
		headerCRC:  binary.BigEndian.Uint32(b[12:]),
	}
	switch {
	case f.typ == 0:
		return f, reasonNoFrame
	case b[6] != 0 || b[7] != 0 || (f.typ > MaxType && f.typ != typeCommit):
		return f, reasonHeader
	case f.headerCRC != frameHeaderCRC(seed, off, b[:12]):
		return f, reasonHeader
	case f.end() > limit:
		return f, reasonLength
	}
	return f, ""
}

const (
	reasonNoFrame = "no frame where one should begin"
	reasonHeader  = "frame header checksum"
	reasonLength  = "frame reaches behind the end"
	reasonPayload = "payload checksum"
	reasonCommit  = "commit frame does not match its group"
	reasonShort   = "file ends inside a frame"
)

// commit is the payload of a commit frame.
type commit struct {
	generation uint64
	start      int64
	frames     uint32
	chain      uint32
	at         time.Time
}

func (c commit) put(b []byte) {
	binary.BigEndian.PutUint64(b[0:], c.generation)
	binary.BigEndian.PutUint64(b[8:], uint64(c.start))
	binary.BigEndian.PutUint32(b[16:], c.frames)
	binary.BigEndian.PutUint32(b[20:], c.chain)
	binary.BigEndian.PutUint64(b[24:], uint64(c.at.UnixNano()))
}

func parseCommit(b []byte) commit {
	return commit{
		generation: binary.BigEndian.Uint64(b[0:]),
		start:      int64(binary.BigEndian.Uint64(b[8:])),
		frames:     binary.BigEndian.Uint32(b[16:]),
		chain:      binary.BigEndian.Uint32(b[20:]),
		at:         time.Unix(0, int64(binary.BigEndian.Uint64(b[24:]))).UTC(),
	}
}

// group accumulates what the commit frame of the group being written, or read, must say.
type group struct {
	start  int64
	frames uint32
	chain  uint32
}

func newGroup(start int64, seed uint32) group { return group{start: start, chain: seed} }

// add takes the header checksum of the group's next frame.
func (g *group) add(headerCRC uint32) {
	g.chain = updateUint(g.chain, uint64(headerCRC), 4)
	g.frames++
}

// matches reports whether c closes exactly this group.
func (g group) matches(c commit, generation uint64) bool {
	return c.generation == generation && c.start == g.start && c.frames == g.frames && c.chain == g.chain
}
