//! A blob on its way to disk: verified groups only, kept over a broken connection or a crash so that it resumes.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    path::PathBuf,
    sync::Arc,
};

use super::{Inner, Named, failed};
use crate::{
    hash::Hash,
    outline::{GROUP_BYTES, Outline},
    store::{
        BLOB_BYTES_MAX, Part, StoreError,
        budget::Reservation,
        memory::{group_after, size_of_slice},
    },
};

/// What a part found of an earlier transfer.
struct Found {
    file: File,
    outline: Outline,
    /// Verified bytes; the file is exactly this long.
    offset: u64,
}

/// See [`Part`].
pub(super) struct DiskPart {
    inner: Arc<Inner>,
    hash: Hash,
    /// Whether this part owns the resumable name (and must give it back).
    claimed: bool,
    found: Option<Found>,
    writing: Option<Writing>,
    /// Verified bytes in the file.
    offset: u64,
    /// Bytes of the resumable file that the budget already counted when this part began.
    charged: u64,
}

/// State after `start`.
struct Writing {
    file: File,
    path: PathBuf,
    resumable: bool,
    outline: Outline,
    room: Reservation,
}

impl DiskPart {
    pub(super) fn open(inner: Arc<Inner>, hash: Hash) -> Result<Self, StoreError> {
        let claimed = inner.receiving().insert(hash);
        let mut part = Self { inner, hash, claimed, found: None, writing: None, offset: 0, charged: 0 };
        if claimed {
            part.found = part.resume()?;
            part.offset = part.found.as_ref().map_or(0, |found| found.offset);
            part.charged = part.offset;
        }
        Ok(part)
    }

    /// Reads what an earlier transfer left, verifies it and cuts off what does not hold.
    fn resume(&self) -> Result<Option<Found>, StoreError> {
        let data_path = self.inner.partial_path(self.hash, "data");
        let Ok(mut file) = OpenOptions::new().read(true).write(true).open(&data_path) else {
            return Ok(None);
        };
        let size_before = file.metadata().map_err(failed("look up a part", &data_path))?.len();
        let Some(outline) = self.read_outline() else {
            self.remove_files(size_before);
            return Ok(None);
        };
        let mut offset = 0_u64;
        let mut group = Vec::with_capacity(GROUP_BYTES);
        for index in 0..outline.group_count() {
            group.clear();
            let mut limited = (&file).take(size_of_group(&outline, index));
            limited.read_to_end(&mut group).map_err(failed("read a part", &data_path))?;
            if !outline.verify(index, &group) {
                break;
            }
            offset = offset.saturating_add(size_of_slice(&group));
        }
        file.set_len(offset).map_err(failed("cut a part", &data_path))?;
        file.seek(SeekFrom::Start(offset)).map_err(failed("read a part", &data_path))?;
        self.inner.budget.release(size_before.saturating_sub(offset));
        Ok(Some(Found { file, outline, offset }))
    }

    /// The outline of the earlier transfer, if it is there and hashes to this blob's name.
    fn read_outline(&self) -> Option<Outline> {
        let file = File::open(self.inner.partial_path(self.hash, "outline")).ok()?;
        let mut bytes = Vec::new();
        let longest = Outline::encoded_bytes(BLOB_BYTES_MAX).saturating_add(8);
        file.take(longest).read_to_end(&mut bytes).ok()?;
        let (size, groups) = bytes.split_first_chunk::<8>()?;
        Outline::parse(self.hash, u64::from_be_bytes(*size), groups).ok()
    }

    /// Removes the resumable files, of which the budget counts `charged` bytes. Best effort: what stays is verified
    /// before it is used, and swept when room is short.
    fn remove_files(&self, charged: u64) {
        self.inner.budget.release(charged);
        for extension in ["data", "outline"] {
            let _ = fs::remove_file(self.inner.partial_path(self.hash, extension));
        }
    }

    /// Opens the file to write: the resumable one for blobs of several groups, if no other transfer has it.
    fn create(&self, outline: &Outline) -> Result<(File, PathBuf, bool), StoreError> {
        let resumable = self.claimed && outline.group_count() > 1;
        let path = if resumable { self.inner.partial_path(self.hash, "data") } else { self.inner.scratch_path() };
        if resumable {
            let outline_path = self.inner.partial_path(self.hash, "outline");
            let bytes = [outline.size_bytes().to_be_bytes().as_slice(), &outline.to_bytes()].concat();
            fs::write(&outline_path, bytes).map_err(failed("write", &outline_path))?;
        }
        let file = OpenOptions::new().create(true).truncate(true).write(true).open(&path);
        Ok((file.map_err(failed("create", &path))?, path, resumable))
    }

    const fn unordered(&self) -> StoreError {
        StoreError::Unordered { hash: self.hash }
    }
}

impl Part for DiskPart {
    fn offset(&self) -> u64 {
        self.offset
    }

    fn start(&mut self, outline: Outline) -> Result<(), StoreError> {
        if self.writing.is_some() || outline.hash() != self.hash {
            return Err(self.unordered());
        }
        self.inner.budget.admit(outline.size_bytes())?;
        let room = self.inner.reserve(outline.size_bytes().saturating_sub(self.offset))?;
        let writing = match self.found.take() {
            Some(found) if found.outline == outline => {
                let path = self.inner.partial_path(self.hash, "data");
                Writing { file: found.file, path, resumable: true, outline, room }
            }
            // The group list is equal by the hash, so the peer lies about the size: the last group is not what it says.
            Some(_) => {
                let group = outline.group_count().saturating_sub(1);
                return Err(StoreError::Mismatch { hash: self.hash, group });
            }
            None => {
                let (file, path, resumable) = self.create(&outline)?;
                Writing { file, path, resumable, outline, room }
            }
        };
        self.writing = Some(writing);
        Ok(())
    }

    fn append(&mut self, groups: &[u8]) -> Result<(), StoreError> {
        let Some(writing) = &mut self.writing else {
            return Err(self.unordered());
        };
        for group in groups.chunks(GROUP_BYTES) {
            let index = group_after(self.offset);
            if !writing.outline.verify(index, group) {
                return Err(StoreError::Mismatch { hash: self.hash, group: index });
            }
            writing.file.write_all(group).map_err(failed("write a part", &writing.path))?;
            self.offset = self.offset.saturating_add(size_of_slice(group));
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<(), StoreError> {
        let complete = self.writing.take_if(|writing| writing.outline.size_bytes() == self.offset);
        let Some(Writing { file, path, resumable, outline, room }) = complete else {
            return Err(self.unordered());
        };
        let Named { fresh, forced } = match self.inner.publish(&file, &path, self.hash) {
            Ok(named) => named,
            Err(error) => {
                let _ = fs::remove_file(&path);
                self.inner.budget.release(self.charged);
                return Err(error);
            }
        };
        if fresh {
            room.keep(outline.size_bytes().saturating_sub(self.charged));
        } else {
            self.inner.budget.release(self.charged);
        }
        if resumable {
            let _ = fs::remove_file(self.inner.partial_path(self.hash, "outline"));
        }
        forced
    }

    fn discard(mut self: Box<Self>) {
        self.offset = 0;
    }
}

impl Drop for DiskPart {
    fn drop(&mut self) {
        if let Some(Writing { file, path, resumable, room, .. }) = self.writing.take() {
            if resumable && self.offset > 0 && file.set_len(self.offset).is_ok() {
                room.keep(self.offset.saturating_sub(self.charged));
            } else if resumable {
                self.remove_files(self.charged);
            } else {
                let _ = fs::remove_file(&path);
            }
        } else if self.found.take().is_some() && self.offset == 0 {
            self.remove_files(self.charged);
        }
        if self.claimed {
            self.inner.receiving().remove(&self.hash);
        }
    }
}

fn size_of_group(outline: &Outline, index: u64) -> u64 {
    u64::try_from(outline.group_bytes(index)).unwrap_or(u64::MAX)
}
